package remote

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rclone/rclone/fs"
	"github.com/rclone/rclone/fs/config"
	"github.com/rclone/rclone/fs/config/configmap"
	"github.com/rclone/rclone/fs/config/obscure"
	"github.com/rclone/rclone/fs/fspath"
)

// backend is what a target names.
type backend struct {
	info       *fs.RegInfo
	name, path string
	values     *configmap.Map
}

// CheckTarget says what is wrong with a target. It does not connect to it.
func CheckTarget(target string) error {
	_, err := parseTarget(target)
	return err
}

// parseTarget finds the backend and the options of a target. The error contains no
// secret.
func parseTarget(target string) (backend, error) {
	parsed, err := fspath.Parse(target)
	if err != nil {
		return backend{}, errors.New("is not a target in rclone's form, such as esi:/inbound/poas") // the target may contain a secret
	}
	var b backend
	b.info, b.name, b.path, b.values, err = fs.ConfigFs(target)
	switch {
	case errors.Is(err, fs.ErrorNotFoundInConfigFile):
		return b, fmt.Errorf("rclone has no remote %q: it is neither in %s nor in environment variables such as %s",
			parsed.Name, config.GetConfigPath(), fs.ConfigToEnv(parsed.Name, "type"))
	case err != nil:
		return b, fmt.Errorf("%w; the backends are local, sftp, webdav, onedrive, s3 and azureblob", err)
	}
	keys := slices.Sorted(maps.Keys(parsed.Config))
	// Check all of these before an error quotes any key: rclone takes what follows a
	// comma in a password for a key.
	for _, key := range keys {
		if secret(b.info, key) || userinfo.MatchString(parsed.Config[key]) {
			return b, fmt.Errorf("%s is a secret and must not be in a target: put it into rclone's configuration file, or into an environment variable such as %s",
				key, b.variable(key))
		}
	}
	for _, key := range append(keys, config.LoadedData().GetKeyList(parsed.Name)...) {
		// These would apply to the whole process, and some can end it: rclone exits
		// if the file that ca_cert names is missing.
		if strings.HasPrefix(key, "override.") || strings.HasPrefix(key, "global.") {
			return b, fmt.Errorf("%s is a setting of rclone itself, which a remote must not change; for your own certificates use SSL_CERT_FILE", key)
		}
	}
	for _, key := range keys {
		if b.info.Options.Get(key) == nil {
			return b, fmt.Errorf("rclone's backend %s has no option %s", b.info.Name, key)
		}
	}
	if b.info.Name == "sftp" {
		return b, b.checkSFTP()
	}
	return b, nil
}

func (b backend) get(key string) string {
	v, _ := b.values.Get(key)
	return v
}

// on reports whether an option is true, or cannot be read.
func (b backend) on(key string) bool {
	v, err := strconv.ParseBool(b.get(key))
	return v || err != nil
}

// checkSFTP says what is wrong with an sftp remote. With the option ssh, that program
// checks the host's key. With pin_host_key, rclone accepts any key of a type that
// host_keys does not list, so host_keys is enough only without pin_host_key.
func (b backend) checkSFTP() error {
	known := b.get("known_hosts_file")
	switch {
	case b.on("ask_password"):
		return errors.New("ask_password would ask on the terminal: set key_file or pass for this sftp remote")
	case b.get("ssh") != "", known != "" && known != "none":
		return nil
	case known == "" && b.get("host_keys") != "" && !b.on("pin_host_key"):
		return nil
	}
	return errors.New("would trust any host key: set known_hosts_file (or host_keys without pin_host_key) for this sftp remote")
}

// variable returns the environment variable that sets an option.
func (b backend) variable(key string) string {
	if strings.HasPrefix(b.name, ":") || b.name == "local" {
		return fs.OptionToEnv(b.info.Prefix + "-" + key)
	}
	return fs.ConfigToEnv(b.name, key)
}

// secret reports whether an option of a backend is a secret.
func secret(info *fs.RegInfo, key string) bool {
	o := info.Options.Get(key)
	if o != nil && o.IsPassword {
		return true
	}
	return slices.Contains([]string{"key", "key_pem", "token", "bearer_token", "client_secret", "secret_access_key", "session_token", "sas_url", "connection_string",
		"sse_customer_key", "sse_customer_key_base64", "ibm_api_key", "link_password", "headers"}, key)
}

var (
	// query matches a URL with a query, which may contain a signature.
	query = regexp.MustCompile(`(https?://[^\s"?]*)\?[^\s"]*`)
	// userinfo matches the user part of a URL, which may contain a password.
	userinfo = regexp.MustCompile(`://[^/\s"]*@`)
)

// redact removes secrets from the text of an error: the given ones, and what looks
// like one.
func redact(err error, secrets ...string) error {
	if err == nil {
		return nil
	}
	text := userinfo.ReplaceAllString(query.ReplaceAllString(err.Error(), "$1?…"), "://…@")
	for _, s := range secrets {
		text = encoded(s).ReplaceAllString(strings.ReplaceAll(text, s, "…"), "…")
	}
	if text != err.Error() {
		return redacted{text, err}
	}
	return err
}

// encoded matches a secret as it is in a URL, and in base64, where other bytes may be around it:
// a server may repeat what it was sent, and a user with a password is sent as "Basic" and
// their base64.
func encoded(secret string) *regexp.Regexp {
	var forms []string
	for _, s := range []string{url.QueryEscape(secret), url.PathEscape(secret), strings.TrimPrefix(url.UserPassword("", secret).String(), ":")} {
		forms = append(forms, "(?i:"+regexp.QuoteMeta(s)+")")
	}
	for before := range 3 {
		text := base64.RawStdEncoding.EncodeToString(append(make([]byte, before), secret...))
		text = text[(before*8+5)/6 : (before+len(secret))*8/6] // the signs that depend on the secret alone
		for _, s := range []string{text, strings.NewReplacer("+", "-", "/", "_").Replace(text)} {
			forms = append(forms, `[\w+/=-]*`+regexp.QuoteMeta(s)+`[\w+/=-]*`)
		}
	}
	return regexp.MustCompile(strings.Join(forms, "|"))
}

// secrets returns the values of the options that are secret.
func (b backend) secrets() (list []string) {
	for _, o := range b.info.Options {
		if !secret(b.info, o.Name) {
			continue
		}
		v := b.get(o.Name)
		clear, err := obscure.Reveal(v)
		if err != nil {
			clear = v
		}
		for _, s := range []string{v, clear} {
			if len(s) >= 4 { // a shorter one may be in any text
				list = append(list, s)
			}
		}
	}
	return list
}

type redacted struct {
	text string
	error
}

func (r redacted) Error() string { return r.text }

func (r redacted) Unwrap() error { return r.error }
