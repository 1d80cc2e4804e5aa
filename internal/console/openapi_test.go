package console

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"quell/internal/access"
	"quell/internal/outage"
	"quell/internal/role"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// operation is an operation of the OpenAPI description, as far as the tests compare it.
type operation struct {
	Least      string `json:"x-least-role"`
	Parameters []struct {
		Name, In string
		Required bool
	}
	RequestBody struct {
		Content map[string]any
	}
	Responses map[string]struct {
		Content map[string]any
	}
}

// described returns the operations of the description by their routes, and a function that validates a
// value against a part of it.
func described(t *testing.T) (operations map[string]operation, validate func(pointer string, body []byte) error) {
	t.Helper()
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]operation
	}
	if err := json.Unmarshal(openAPI, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("OpenAPI %q", doc.OpenAPI)
	}
	operations = map[string]operation{}
	for path, methods := range doc.Paths {
		for method, o := range methods {
			operations[strings.ToUpper(method)+" "+path] = o
		}
	}
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(openAPI))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("openapi.json", whole); err != nil {
		t.Fatal(err)
	}
	return operations, func(pointer string, body []byte) error {
		schema, err := compiler.Compile("openapi.json#" + pointer)
		if err != nil {
			t.Fatalf("%s: %v", pointer, err)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
		if err != nil {
			return err
		}
		return schema.Validate(value)
	}
}

// pointerTo returns the JSON pointer to the schema of an answer or a request in JSON.
func pointerTo(route string, parts ...string) string {
	method, path, _ := strings.Cut(route, " ")
	escape := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D")
	pointer := "/paths/" + escape.Replace(path) + "/" + strings.ToLower(method)
	for _, p := range append(parts, "content", jsonType, "schema") {
		pointer += "/" + escape.Replace(p)
	}
	return pointer
}

// inAPI reports whether a route is one that the description has: not a page for browsers.
func inAPI(route string) bool {
	_, path, _ := strings.Cut(route, " ")
	return strings.HasPrefix(path, "/api/") || path == "/healthz" || path == "/readyz" || path == "/metrics"
}

// TestOpenAPI holds that the description has all routes, and only those, each with its role and the
// parameters that the handler takes.
func TestOpenAPI(t *testing.T) {
	c, h, _ := filled(t)
	operations, _ := described(t)
	admin := tokenOf(t, c, "admin", role.Admin)
	takes := regexp.MustCompile(`this endpoint takes ([^"\\]*)`)
	inPath := regexp.MustCompile(`\{(\w+)\}`)
	for _, route := range c.Guard.Routes() {
		if !inAPI(route.Pattern) {
			continue
		}
		o, ok := operations[route.Pattern]
		if !ok {
			t.Errorf("%s is not in openapi.json", route.Pattern)
			continue
		}
		delete(operations, route.Pattern)
		if o.Least != route.Least.String() {
			t.Errorf("%s is for %q; openapi.json says %q", route.Pattern, route.Least, o.Least)
		}
		var query, path []string
		for _, p := range o.Parameters {
			switch p.In {
			case "query":
				query = append(query, p.Name)
			case "path":
				path = append(path, p.Name)
			}
		}
		// A refusal of an unknown parameter names those that there are.
		method, address, _ := strings.Cut(route.Pattern, " ")
		c.Guard.Access.Rates = &access.Rates{}
		w := ask(h, "192.0.2.1:9", admin, method, inPath.ReplaceAllString(address, "1")+"?sideways=1", "")
		m := takes.FindStringSubmatch(w.Body.String())
		if w.Code != http.StatusBadRequest || m == nil {
			t.Errorf("%s?sideways=1: %d %s", route.Pattern, w.Code, w.Body)
			continue
		}
		if have := strings.Join(query, ", "); have != m[1] && (have != "" || m[1] != "none") {
			t.Errorf("%s takes %s; openapi.json says %q", route.Pattern, m[1], have)
		}
		var wild []string
		for _, m := range inPath.FindAllStringSubmatch(address, -1) {
			wild = append(wild, m[1])
		}
		if !slices.Equal(path, wild) {
			t.Errorf("%s: openapi.json has %v in the path", route.Pattern, path)
		}
	}
	for _, route := range slices.Sorted(maps.Keys(operations)) {
		t.Errorf("openapi.json has %s, which is no route", route)
	}
}

// TestAnswers holds that what endpoints take and answer is as the description says: the examples of
// all routes, as an analyst gets them and as a viewer does, and an error of each.
func TestAnswers(t *testing.T) {
	c, h, _ := filled(t)
	operations, validate := described(t)
	admin, viewer := tokenOf(t, c, "admin", role.Admin), tokenOf(t, c, "viewer", role.Viewer)
	cell := c.Flow.Received(c.Motorway.Now(), supplyPoint)
	cell.End(1)
	if err := c.Flow.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Ledger.SetSwitch(t.Context(), outage.SwitchShadow, "a", "b", c.Motorway.Now()); err != nil {
		t.Fatal(err)
	}
	checked, shown := 0, 0
	for route, x := range examples() {
		if !inAPI(route) {
			continue
		}
		method, _, _ := strings.Cut(route, " ")
		if strings.HasSuffix(x.path, "SPARE") {
			continue // TestRoles revokes tokens; the answer is one of the list of tokens
		}
		if strings.HasSuffix(route, "POST /api/v1/releases") {
			x.body = strings.Replace(x.body, "SEQ", suppressNow(t, c), 1)
		}
		if strings.HasSuffix(route, "/close") {
			openWindow(t, c, 77)
		}
		if strings.HasPrefix(x.body, "{") {
			if err := validate(pointerTo(route, "requestBody"), []byte(x.body)); err != nil {
				t.Errorf("%s %s: %v", route, x.body, err)
			}
		} else if (x.body != "") != (operations[route].RequestBody.Content["multipart/form-data"] != nil) {
			t.Errorf("%s: the body is not as openapi.json says", route)
		}
		c.Guard.Access.Rates = &access.Rates{}
		w := ask(h, "192.0.2.1:9", admin, method, x.path, x.body)
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", route, w.Code, w.Body)
			continue
		}
		kind, _, _ := strings.Cut(cmp.Or(w.Header().Get("Content-Type"), http.DetectContentType(w.Body.Bytes())), ";")
		content := operations[route].Responses["200"].Content
		if kind != jsonType {
			if content[kind] == nil && content["*/*"] == nil {
				t.Errorf("%s answers with %s; openapi.json says %v", route, kind, slices.Collect(maps.Keys(content)))
			}
			continue
		}
		checked++
		if err := validate(pointerTo(route, "responses", "200"), w.Body.Bytes()); err != nil {
			t.Errorf("%s: %v\n%s", route, err, w.Body)
		}
		if strings.Contains(w.Body.String(), supplyPoint) {
			shown++
		}
		if w := ask(h, "192.0.2.1:9", viewer, method, x.path, x.body); w.Code == http.StatusOK {
			if err := validate(pointerTo(route, "responses", "200"), w.Body.Bytes()); err != nil {
				t.Errorf("%s as a viewer: %v\n%s", route, err, w.Body)
			}
		}
		w = ask(h, "192.0.2.1:9", admin, method, x.path+"?sideways=1&sideways=2", x.body)
		if err := validate("/components/schemas/Error", w.Body.Bytes()); err != nil {
			t.Errorf("an error of %s: %v\n%s", route, err, w.Body)
		}
	}
	if checked < 35 || shown < 3 {
		t.Errorf("%d answers, %d with an MPxN", checked, shown)
	}
	// The schemas are strict: they find a field too much, and one too few.
	for _, body := range []string{`{"changes":[],"switch":"on","more":1}`, `{"changes":[]}`, `{"changes":[],"switch":"of"}`} {
		if validate(pointerTo("GET /api/v1/switch", "responses", "200"), []byte(body)) == nil {
			t.Errorf("%s is valid", body)
		}
	}
}
