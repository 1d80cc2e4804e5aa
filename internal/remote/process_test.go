package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"quell/internal/remote/remotetest"

	"github.com/rclone/rclone/fs/config"
)

// If this variable names an rclone configuration file, the test binary puts one file
// and ends. Its arguments are the target and the file.
const beProcess = "QUELL_TEST_RCLONE_CONFIG"

func process(file, target, path string) {
	text, err := os.ReadFile(path)
	if err == nil {
		err = Configure(file)
	}
	if err == nil {
		sum := sha256.Sum256(text)
		f := File{Name: fileName, Path: path, Size: int64(len(text)), SHA256: hex.EncodeToString(sum[:])}
		err = Put(context.Background(), target, f, func(Step) {})
	}
	fmt.Println("ended:", err)
	os.Exit(0)
}

// inProcess puts a file in a new process, whose configuration file has this text. It
// returns the output, and the text of the configuration file afterwards. The process
// has no terminal.
func inProcess(t *testing.T, text, target string, environ ...string) (output, after string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rclone.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, _ := aFile(t, 1000)
	cmd := exec.CommandContext(t.Context(), os.Args[0], target, f.Path)
	cmd.Env = append(append(os.Environ(), beProcess+"="+file), environ...)
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("ended: ")) {
		t.Errorf("the process ended early: %v: %s", err, out)
	}
	now, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(out), string(now)
}

// section is a target of an SSHD as a section of a configuration file.
func section(name, target string) string {
	options, _, _ := strings.Cut(strings.TrimPrefix(target, ":"), ":/")
	list := strings.Split(options, ",")
	return "[" + name + "]\ntype = " + strings.ReplaceAll(strings.ReplaceAll(strings.Join(list, "\n"), "=", " = "), `"`, "") + "\n"
}

// The operator's file stays unchanged, with its comments. rclone would write into it
// which commands a server has.
func TestConfigurationIsNotWritten(t *testing.T) {
	t.Parallel()
	s := remotetest.NewSSHD(t, true)
	text := "# ours\n" + section("esi", s.Target(s.Addr, "/"))
	out, after := inProcess(t, text, "esi:"+s.Dir+"/in")
	if !strings.Contains(out, "ended: <nil>") {
		t.Errorf("%s", out)
	}
	if after != text {
		t.Errorf("the file is now\n%s", after)
	}
}

// RCLONE_CONFIG_PASS opens an encrypted configuration. rclone never asks for it.
func TestEncryptedConfiguration(t *testing.T) {
	if err := config.SetConfigPassword("hunter2"); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	err := config.Encrypt(strings.NewReader("[esi]\ntype = local\n"), &text)
	config.ClearConfigPassword() // it applies to the whole process: only now other tests may run
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel()
	for pass, want := range map[string]string{"hunter2": "<nil>", "": "RCLONE_CONFIG_PASS", "hunter3": "unable to decrypt"} {
		out, _ := inProcess(t, text.String(), "esi:"+t.TempDir(), "RCLONE_CONFIG_PASS="+pass)
		if !strings.HasPrefix(out, "ended: ") || !strings.Contains(out, want) || strings.Contains(out, "hunter") {
			t.Errorf("%q: %s", pass, out)
		}
	}
}

// No configuration of a remote can end the process, make it ask on the terminal, or
// put a secret into its output, not even if rclone is told to log.
func TestProcessGoesOn(t *testing.T) {
	for text, want := range map[string]string{
		"type = webdav\nurl = http://127.0.0.1:1/\noverride.ca_cert = /none.pem":                       "SSL_CERT_FILE",
		"type = webdav\nurl = http://127.0.0.1:1/\nglobal.log_level = DEBUG":                           "SSL_CERT_FILE",
		"type = webdav\nurl = http://127.0.0.1:1/\nbearer_token = hunter2":                             "connection refused",
		"type = sftp\nhost = 127.0.0.1\nport = 1\nask_password = true\nknown_hosts_file = /k":          "on the terminal",
		"type = sftp\nhost = 127.0.0.1\nport = 1\nkey_pem = hunter2\nknown_hosts_file = " + os.DevNull: "private key",
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			out, _ := inProcess(t, "[esi]\n"+text+"\n", "esi:x", "RCLONE_LOG_LEVEL=DEBUG", "RCLONE_DUMP=auth,headers", "RCLONE_VERBOSE=2")
			if !strings.HasPrefix(out, "ended: ") || !strings.Contains(out, want) || strings.Contains(out, "hunter2") {
				t.Errorf("%s\ngives %s", text, out)
			}
		})
	}
}
