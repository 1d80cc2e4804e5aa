package config

import (
	"reflect"
	"strings"
	"testing"

	"quell/internal/role"
)

// TestConsoleSettings: who may use the console is read from the file and from the environment.
func TestConsoleSettings(t *testing.T) {
	want := valid()
	want.Console.Socket = "/run/quell/console.sock"
	want.Console.URL = "https://quell.example:8443"
	want.Console.OIDC = &OIDC{Issuer: "https://login.example/realms/house", ClientID: "quell", ClientSecretFile: "/etc/quell/oidc-secret",
		Roles: OIDCRoles{Viewer: []string{"staff"}, Operator: []string{"duty", "night"}}}
	want.Console.ClientRoles = map[string]role.Role{"CN=grafana": role.Viewer, "DNS:desk.example": role.Operator}
	const oidc = `{issuer: "https://login.example/realms/house", client_id: quell, client_secret_file: /etc/quell/oidc-secret, roles: {viewer: [staff], operator: [duty, night]}}`
	const clients = `{"CN=grafana": viewer, "DNS:desk.example": operator}`
	inFile, err := Parse("q.yaml", []byte(hops+"\nconsole:\n  socket: /run/quell/console.sock\n  url: https://quell.example:8443\n  oidc: "+oidc+"\n  client_roles: "+clients+"\n"), nil)
	if err != nil || !reflect.DeepEqual(inFile, want) {
		t.Errorf("%+v\n%v", inFile.Console, err)
	}
	inEnvironment, err := Parse("q.yaml", []byte(hops), []string{"QUELL_CONSOLE_SOCKET=/run/quell/console.sock", "QUELL_CONSOLE_URL=https://quell.example:8443",
		"QUELL_CONSOLE_OIDC=" + oidc, "QUELL_CONSOLE_CLIENT_ROLES=" + clients, "QUELL_TOKEN=x", "QUELL_TOKEN_FILE=x"})
	if err != nil || !reflect.DeepEqual(inEnvironment, want) {
		t.Errorf("%+v\n%v", inEnvironment.Console, err)
	}
	emptied, err := Parse("q.yaml", []byte(hops+"\nconsole: {oidc: "+oidc+", url: \"https://quell.example\", client_roles: "+clients+"}"),
		[]string{"QUELL_CONSOLE_OIDC=", "QUELL_CONSOLE_CLIENT_ROLES=", "QUELL_CONSOLE_URL="})
	if err != nil || !reflect.DeepEqual(emptied, valid()) {
		t.Errorf("%+v\n%v", emptied.Console, err)
	}
	if path := inFile.SocketPath(); path != "/run/quell/console.sock" {
		t.Error(path)
	}
	if path := emptied.SocketPath(); path != "data/console.sock" {
		t.Error(path)
	}
}

// TestConsoleFaults: what would let in nobody, or somebody else, is refused.
func TestConsoleFaults(t *testing.T) {
	oidc := func(old, new string) string {
		text := `{issuer: "https://login.example", client_id: quell, client_secret_file: secret, roles: {viewer: [staff]}}`
		if !strings.Contains(text, old) {
			t.Fatal(old)
		}
		return `url: "https://quell.example", oidc: ` + strings.Replace(text, old, new, 1)
	}
	for console, want := range map[string]string{
		oidc("", ""): "",
		oidc("https://login.example", "http://127.0.0.1:9000/x"):      "",
		`url: "http://localhost:8080"`:                                "",
		`url: "http://[::1]:8080"`:                                    "",
		oidc("https://login.example", "http://login.example"):         `console.oidc: issuer: "http://login.example" must be https`,
		oidc("https://login.example", "login.example"):                `console.oidc: issuer: "login.example" is not a URL`,
		oidc("https://login.example", "https://login.example?x=1"):    `console.oidc: issuer: "https://login.example?x=1" is not a URL`,
		oidc("client_id: quell", `client_id: ""`):                     `console.oidc: client_id: must not be empty`,
		oidc("client_secret_file: secret", `client_secret_file: ""`):  `console.oidc: client_secret_file: must not be empty`,
		oidc("client_secret_file: secret", `client_secret_file: ~/s`): `console.oidc: client_secret_file: "~/s" begins with ~`,
		oidc("viewer: [staff]", ""):                                   `console.oidc: roles: needs a group for a role`,
		oidc("[staff]", `[""]`):                                       `console.oidc: roles: viewer: item 1 is empty`,
		oidc("viewer: [staff]", "owner: [staff]"):                     `console.oidc: roles: unknown key "owner"`,
		oidc("client_id", "client_secret: x, client_id"):              `console.oidc: unknown key "client_secret"`,
		`oidc: x`: `console.oidc: must have the keys issuer, client_id, client_secret_file, roles, but is text`,
		`oidc: {issuer: "https://x", client_id: q, client_secret_file: s, roles: {admin: [a]}}`: `console.url: is required with console.oidc`,
		`url: quell.example`:                            `console.url: "quell.example" is not a URL`,
		`url: "https://quell.example/"`:                 `console.url: "https://quell.example/" is not a URL`,
		`url: "https://a@quell.example"`:                `console.url: "https://a@quell.example" is not a URL`,
		`url: "http://quell.example"`:                   `console.url: "http://quell.example" must be https`,
		`client_roles: {grafana: viewer}`:               `console.client_roles: "grafana" is not a name such as CN=grafana`,
		`client_roles: {"CN=": viewer}`:                 `console.client_roles: "CN=" is not a name`,
		`client_roles: {"CN=a": anyone}`:                `console.client_roles: CN=a: "anyone" is not a role: viewer, analyst, operator, admin`,
		`client_roles: {"CN=a": [viewer]}`:              `console.client_roles: CN=a: must be text, but is a list`,
		`client_roles: {"CN=a": viewer, "CN=a": admin}`: `console.client_roles: CN=a: is there twice`,
		`client_roles: [viewer]`:                        `console.client_roles: must be keys and values, but is a list`,
		`socket: ~/s`:                                   `console.socket: "~/s" begins with ~`,
	} {
		_, err := Parse("q.yaml", []byte(hops+"\nconsole: {"+console+"}\n"), nil)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", console, err, want)
		}
	}
}
