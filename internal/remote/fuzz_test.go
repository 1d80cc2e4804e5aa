package remote

import (
	"strings"
	"testing"

	"github.com/rclone/rclone/fs"
	"github.com/rclone/rclone/fs/fspath"
)

// FuzzCheckTarget: a target with a secret is refused, wherever the secret is, and the error does
// not quote it. before and after are the rest of the target around an option that is secret.
func FuzzCheckTarget(f *testing.F) {
	f.Add("sftp", "pass", ",host=a", ":/b")
	f.Add("s3", "secret_access_key", "", ",provider=x:b")
	f.Add("webdav", "bearer_token", ",url='https://h/'", "':b")
	f.Add("azureblob", "sas_url", ",account=\"a", "\":b")
	f.Add("sftp", "pass", ",no-such=1", ",key=1:")
	f.Add("onedrive", "client_secret", ",override.a=1", ":")
	f.Add("webdav", "url", "", "@h/:")
	f.Fuzz(func(t *testing.T, name, key, before, after string) {
		const value = "s3cr3t-0123456789"
		target := ":" + name + before + "," + key + "=" + value + after
		err := CheckTarget(target)
		parsed, parseErr := fspath.Parse(target)
		if parseErr != nil {
			if err == nil || strings.Contains(err.Error(), value) {
				t.Fatalf("%q, which rclone cannot read: %v", target, err)
			}
			return
		}
		info, findErr := fs.Find(strings.TrimPrefix(parsed.Name, ":"))
		if findErr != nil || !strings.Contains(parsed.Config[key], value) || !secret(info, key) {
			return
		}
		if err == nil || strings.Contains(err.Error(), value) {
			t.Fatalf("%q has a secret in %s: %v", target, key, err)
		}
	})
}
