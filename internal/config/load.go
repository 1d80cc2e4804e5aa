package config

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Load reads the configuration from the file at path and from environ, which has
// entries "name=value" like os.Environ. If path is empty, there are only the defaults
// and the environment.
//
// The environment overrides the file. The variable of a key is QUELL_ and its path in
// upper case, joined by "_": QUELL_SOUTHBOUND_NEXT_HOP. Commas separate the items of a
// list. An empty variable makes its key empty. Other variables that begin with QUELL_
// are refused, except QUELL_CONFIG, QUELL_TOKEN, QUELL_TOKEN_FILE and those that begin with
// QUELL_TEST_.
//
// The error names all faults at once, joined by errors.Join. Each has its file and
// line, or its variable.
func Load(path string, environ []string) (Config, error) {
	if path == "" {
		return Parse("", nil, environ)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	return Parse(path, text, environ)
}

// Parse is Load with the text of the file. Errors call the file name.
func Parse(name string, text []byte, environ []string) (Config, error) {
	c := Default()
	l := c.read(name, text, environ)
	for _, f := range c.faults() {
		if !l.bad[f.key] && !l.broken {
			l.errs = append(l.errs, withPlace(l.origin[f.key], name, f))
		}
	}
	if len(l.errs) > 0 {
		return Config{}, errors.Join(l.errs...)
	}
	return c, nil
}

// SocketOf returns the path of the socket that a configuration names, whatever else is wrong
// with it; "" if it names no data folder.
func SocketOf(path string, environ []string) string {
	text, _ := os.ReadFile(path)
	c := Default()
	if l := c.read(path, text, environ); l.origin["data_dir"] == "" || l.bad["data_dir"] {
		return ""
	}
	return c.SocketPath()
}

// withPlace puts the place of a fault before it. If place is empty, it uses the file's
// name; if that is empty too, nothing.
func withPlace(place, name string, f fault) error {
	if place == "" {
		place = name
	}
	if place == "" {
		return f
	}
	return fmt.Errorf("%s: %w", place, f)
}

// loader sets the values of a Config and collects the faults.
type loader struct {
	name   string
	leaves []leaf
	origin map[string]string // key → file and line, or variable, of its value
	bad    map[string]bool   // keys whose value was already refused
	broken bool              // the file is not YAML, so any key may be missing
	errs   []error
}

func (l *loader) fail(line int, format string, args ...any) {
	l.errs = append(l.errs, fmt.Errorf("%s:%d: "+format, append([]any{l.name, line}, args...)...))
}

func (c *Config) read(name string, text []byte, environ []string) *loader {
	l := &loader{name: name, leaves: leaves(c), origin: map[string]string{}, bad: map[string]bool{}}
	l.readFile(text)
	l.readEnvironment(environ)
	return l
}

// yamlError matches the start of a syntax error of package yaml.
var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func (l *loader) readFile(text []byte) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return
	}
	if err == nil {
		l.readSection("", doc.Content[0])
		if err = dec.Decode(&more); errors.Is(err, io.EOF) {
			return
		}
	}
	if err == nil {
		l.fail(more.Line, "a second YAML document; the configuration must be one document")
		return
	}
	l.broken = true
	// Package yaml has no type for a syntax error. The line that it gives is the
	// broken one or the one before.
	what, at := yamlError.ReplaceAllString(err.Error(), ""), ""
	if m := yamlError.FindStringSubmatch(err.Error()); m != nil && m[1] != "" {
		what, at = what+" (in this line or soon after)", ":"+m[1]
	}
	l.errs = append(l.errs, fmt.Errorf("%s%s: %s", l.name, at, what))
}

// readSection reads a section. All its keys begin with prefix. An empty section, as
// when every line is commented out, has all defaults.
func (l *loader) readSection(prefix string, n *yaml.Node) {
	section := strings.TrimSuffix(prefix, ".")
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.ShortTag() == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		if section == "" {
			section = "the file"
		}
		l.fail(n.Line, "%s: must be keys and values, but is %s", section, kindText(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		key := prefix + k.Value
		if first, ok := seen[key]; ok {
			l.fail(k.Line, "%s: is there twice; the first is in line %d", key, first)
			continue
		}
		seen[key] = k.Line
		at := l.leaf(key)
		switch section, _, dotted := strings.Cut(k.Value, "."); {
		case at != nil && dotted:
			l.fail(k.Line, "unknown key %q; put it under %s:", key, section)
		case at != nil:
			l.setValue(at, v)
		case !dotted && l.isSection(key):
			l.readSection(key+".", v)
		default:
			l.fail(k.Line, "unknown key %q%s", key, hint(key, l.keys()))
		}
	}
}

// setValue sets one value. If the value is refused, the default stays.
func (l *loader) setValue(at *leaf, n *yaml.Node) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	l.origin[at.key] = fmt.Sprintf("%s:%d", l.name, n.Line)
	if err := setNode(at.value, n); err != nil {
		l.bad[at.key] = true
		l.fail(n.Line, "%s: %w", at.key, err)
	}
}

func (l *loader) readEnvironment(environ []string) {
	vars := make([]string, len(l.leaves))
	for i, at := range l.leaves {
		vars[i] = EnvName(at.key)
	}
	for _, entry := range environ {
		name, text, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "QUELL_") || name == "QUELL_CONFIG" || name == "QUELL_TOKEN" || name == "QUELL_TOKEN_FILE" || strings.HasPrefix(name, "QUELL_TEST_") {
			continue
		}
		i := slices.Index(vars, name)
		if i < 0 {
			l.errs = append(l.errs, fmt.Errorf("unknown environment variable %s%s", name, hint(name, vars)))
			continue
		}
		at := l.leaves[i]
		l.origin[at.key] = name
		delete(l.bad, at.key)
		if err := setText(at.value, text); err != nil {
			l.bad[at.key] = true
			l.errs = append(l.errs, fmt.Errorf("%s: %w", name, fault{at.key, err}))
		}
	}
}

// EnvName returns the name of the environment variable that overrides a key.
func EnvName(key string) string {
	return "QUELL_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// leaf returns the value of a key; nil if there is no such key.
func (l *loader) leaf(key string) *leaf {
	for i := range l.leaves {
		if l.leaves[i].key == key {
			return &l.leaves[i]
		}
	}
	return nil
}

func (l *loader) isSection(key string) bool {
	return slices.ContainsFunc(l.leaves, func(at leaf) bool { return strings.HasPrefix(at.key, key+".") })
}

// keys returns the keys of values and of sections.
func (l *loader) keys() []string {
	var all []string
	for _, at := range l.leaves {
		for i := range at.key {
			if section := at.key[:i]; at.key[i] == '.' && !slices.Contains(all, section) {
				all = append(all, section)
			}
		}
		all = append(all, at.key)
	}
	return all
}

// setNode sets v, the value of a key, from a YAML node.
func setNode(v reflect.Value, n *yaml.Node) error {
	switch v.Kind() {
	case reflect.Struct:
		return setItem(v, n)
	case reflect.Pointer:
		return setOptional(v, n)
	case reflect.Map:
		return setMap(v, n)
	}
	if v.Kind() != reflect.Slice {
		if n.Kind != yaml.ScalarNode || !slices.Contains(scalarTags(v), n.ShortTag()) {
			return fmt.Errorf("must be %s, but is %s", typeText(v.Type()), nodeText(n))
		}
		return setText(v, n.Value)
	}
	if n.Kind != yaml.SequenceNode {
		is := nodeText(n)
		if v.Type().Elem().Kind() == reflect.Struct {
			is = kindText(n)
		}
		return fmt.Errorf("must be %s, but is %s", typeText(v.Type()), is)
	}
	v.SetZero()
	list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		if err := setNode(list.Index(i), item); err != nil {
			return fmt.Errorf("item %d: %w", i+1, err)
		}
	}
	if list.Len() > 0 {
		v.Set(list)
	}
	return nil
}

func scalarTags(v reflect.Value) []string {
	switch {
	case v.Kind() == reflect.Bool:
		return []string{"!!bool"}
	case v.Type() == reflect.TypeFor[int]():
		return []string{"!!int"}
	case v.Type() == reflect.TypeFor[Size]():
		return []string{"!!str", "!!int"}
	}
	return []string{"!!str"}
}

// setItem sets v, an item of a list that has keys.
func setItem(v reflect.Value, n *yaml.Node) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	var known []string
	fields := map[string]reflect.Value{}
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("yaml")
		known = append(known, name)
		fields[name] = v.Field(i)
	}
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("must have the keys %s, but is %s", strings.Join(known, ", "), kindText(n))
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i].Value, n.Content[i+1]
		f, ok := fields[key]
		if !ok {
			return fmt.Errorf("unknown key %q%s", key, hint(key, known))
		}
		if seen[key] {
			return fmt.Errorf("%s: is there twice", key)
		}
		seen[key] = true
		if err := setNode(f, value); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

// setOptional sets v, a pointer to a value that has keys. Without any it is nil.
func setOptional(v reflect.Value, n *yaml.Node) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	v.SetZero()
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		return nil
	}
	to := reflect.New(v.Type().Elem())
	if err := setNode(to.Elem(), n); err != nil {
		return err
	}
	v.Set(to)
	return nil
}

// setMap sets v, a map from texts.
func setMap(v reflect.Value, n *yaml.Node) error {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("must be %s, but is %s", typeText(v.Type()), nodeText(n))
	}
	m := reflect.MakeMap(v.Type())
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := reflect.ValueOf(n.Content[i].Value), reflect.New(v.Type().Elem()).Elem()
		if m.MapIndex(key).IsValid() {
			return fmt.Errorf("%s: is there twice", key)
		}
		if err := setNode(value, n.Content[i+1]); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		m.SetMapIndex(key, value)
	}
	v.SetZero()
	if m.Len() > 0 {
		v.Set(m)
	}
	return nil
}

// setText sets v, the value of a key, from a text. Commas separate the items of a list.
// If the items have keys, the text is YAML.
func setText(v reflect.Value, s string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(s))
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Map:
		v.SetZero()
		if strings.TrimSpace(s) == "" {
			return nil
		}
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(s), &doc); err != nil || len(doc.Content) == 0 {
			return errors.New("must be YAML with keys and values, such as {key: value}")
		}
		return setNode(v, doc.Content[0])
	case reflect.Bool:
		if s != "true" && s != "false" {
			return fmt.Errorf("must be %s, but is %q", typeText(v.Type()), s)
		}
		v.SetBool(s == "true")
	case reflect.Int:
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("must be %s, but is %q", typeText(v.Type()), s)
		}
		v.SetInt(int64(n))
	case reflect.Slice:
		v.SetZero()
		if strings.TrimSpace(s) == "" {
			return nil
		}
		if v.Type().Elem().Kind() == reflect.Struct {
			var doc yaml.Node
			if err := yaml.Unmarshal([]byte(s), &doc); err != nil || len(doc.Content) == 0 {
				return errors.New("must be YAML such as [{name: esi, target: \"esi:/inbound/poas\"}]")
			}
			return setNode(v, doc.Content[0])
		}
		for item := range strings.SplitSeq(s, ",") {
			e := reflect.New(v.Type().Elem()).Elem()
			e.SetString(strings.TrimSpace(item))
			v.Set(reflect.Append(v, e))
		}
	default:
		v.SetString(s)
	}
	return nil
}

// typeText says what the value of a key of type t must be.
func typeText(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[Duration]():
		return "a duration such as 30m"
	case t == reflect.TypeFor[Size]():
		return "a size such as 10MiB"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t == reflect.TypeFor[int]():
		return "a whole number such as 1000"
	case t.Kind() == reflect.Slice:
		return "a list"
	case t.Kind() == reflect.Map, t.Kind() == reflect.Pointer:
		return "keys and values"
	}
	return "text"
}

// nodeText says what a node is, in the words of an operator.
func nodeText(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "empty; for the default, leave the key out"
	case "!!str":
		return fmt.Sprintf("%q", n.Value)
	}
	return fmt.Sprintf("the %s %s (in quotes it would be text)", strings.TrimPrefix(n.ShortTag(), "!!"), n.Value)
}

// kindText is nodeText without the text itself, for what is in place of keys and values: that
// may be a target with a password.
func kindText(n *yaml.Node) string {
	if n.ShortTag() == "!!str" {
		return "text"
	}
	return nodeText(n)
}
