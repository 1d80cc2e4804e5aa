package remote

import (
	"errors"
	"fmt"
	"maps"
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

// Check says what is wrong with a target, without reaching it.
func Check(target string) error {
	_, err := find(target)
	return err
}

// find looks a target up. The error holds no secret of it.
func find(target string) (backend, error) {
	parsed, err := fspath.Parse(target)
	if err != nil {
		return backend{}, errors.New("is not a target as rclone writes them, such as esi:/inbound/poas") // the text may hold a secret
	}
	var b backend
	b.info, b.name, b.path, b.values, err = fs.ConfigFs(target)
	switch {
	case errors.Is(err, fs.ErrorNotFoundInConfigFile):
		return b, fmt.Errorf("rclone knows no remote %q: it is neither in %s nor in variables such as %s",
			parsed.Name, config.GetConfigPath(), fs.ConfigToEnv(parsed.Name, "type"))
	case err != nil:
		return b, fmt.Errorf("%w; built in are local, sftp, webdav, onedrive, s3 and azureblob", err)
	}
	keys := slices.Sorted(maps.Keys(parsed.Config))
	// All of these before any key is quoted: what follows the comma in a
	// password is taken for a key.
	for _, key := range keys {
		if secret(b.info, key) || userinfo.MatchString(parsed.Config[key]) {
			return b, fmt.Errorf("%s is a secret, and does not belong into a target: put it into rclone's configuration file, or into a variable such as %s",
				key, b.variable(key))
		}
	}
	for _, key := range append(keys, config.LoadedData().GetKeyList(parsed.Name)...) {
		// They would hold for the whole process, and some end it: rclone exits
		// if the file of a ca_cert is missing.
		if strings.HasPrefix(key, "override.") || strings.HasPrefix(key, "global.") {
			return b, fmt.Errorf("%s is a setting of rclone itself, which a remote cannot make here; for certificates of your own use SSL_CERT_FILE", key)
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

// on reports whether a switch may be on.
func (b backend) on(key string) bool {
	v, err := strconv.ParseBool(b.get(key))
	return v || err != nil
}

// checkSFTP says what is wrong with an sftp remote. With the option ssh, that
// program checks the host's key. With pin_host_key, rclone takes any key of a
// kind that host_keys does not name, so that host_keys counts only without it.
func (b backend) checkSFTP() error {
	known := b.get("known_hosts_file")
	switch {
	case b.on("ask_password"):
		return errors.New("ask_password would ask on the terminal: set key_file, or pass, for this sftp remote")
	case b.get("ssh") != "", known != "" && known != "none":
		return nil
	case known == "" && b.get("host_keys") != "" && !b.on("pin_host_key"):
		return nil
	}
	return errors.New("would trust any host key: set known_hosts_file (or host_keys, without pin_host_key) for this sftp remote")
}

// variable names the variable that an option is read from.
func (b backend) variable(key string) string {
	if strings.HasPrefix(b.name, ":") || b.name == "local" {
		return fs.OptionToEnv(b.info.Prefix + "-" + key)
	}
	return fs.ConfigToEnv(b.name, key)
}

// secret reports whether a backend's option is one.
func secret(info *fs.RegInfo, key string) bool {
	o := info.Options.Get(key)
	if o != nil && o.IsPassword {
		return true
	}
	return slices.Contains([]string{"key", "key_pem", "token", "bearer_token", "client_secret", "secret_access_key", "session_token", "sas_url", "connection_string",
		"sse_customer_key", "sse_customer_key_base64", "ibm_api_key", "link_password", "headers"}, key)
}

var (
	// query is that of a URL, which may hold a signature.
	query = regexp.MustCompile(`(https?://[^\s"?]*)\?[^\s"]*`)
	// userinfo is that of a URL, which may hold a password.
	userinfo = regexp.MustCompile(`://[^/\s"]*@`)
)

// redact takes out of an error's text what lets others in: these secrets, and
// what looks like one.
func redact(err error, secrets ...string) error {
	if err == nil {
		return nil
	}
	text := userinfo.ReplaceAllString(query.ReplaceAllString(err.Error(), "$1?…"), "://…@")
	for _, s := range secrets {
		text = strings.ReplaceAll(text, s, "…")
	}
	if text != err.Error() {
		return redacted{text, err}
	}
	return err
}

// secrets are the values that let others in.
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
			if len(s) >= 4 { // less is in every text
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
