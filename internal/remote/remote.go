// Package remote puts files where others fetch them, through rclone. The result is
// exactly one file with the right content under its name, however often it is tried
// and wherever a try is cut off.
//
// Targets are written as for rclone. Its backends for folders, SFTP, WebDAV, OneDrive
// and SharePoint, S3 and Azure Blob are built in.
package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	_ "github.com/rclone/rclone/backend/azureblob"
	_ "github.com/rclone/rclone/backend/local"
	_ "github.com/rclone/rclone/backend/onedrive"
	_ "github.com/rclone/rclone/backend/s3"
	_ "github.com/rclone/rclone/backend/sftp"
	_ "github.com/rclone/rclone/backend/webdav"
	"github.com/rclone/rclone/fs"
	"github.com/rclone/rclone/fs/config"
	"github.com/rclone/rclone/fs/config/configfile"
	"github.com/rclone/rclone/fs/config/configmap"
	"github.com/rclone/rclone/fs/hash"
	"github.com/rclone/rclone/fs/object"
)

// NoConfig is the file name that tells Configure to use no configuration file.
const NoConfig = os.DevNull

// Configure sets the rclone configuration file, in which targets are looked up. If
// file is empty, it is the one that the variable RCLONE_CONFIG names, or else the one
// at rclone's usual place. Call it once, before anything else: it applies to the
// whole process. rclone will never ask anything on the terminal.
func Configure(file string) error {
	fs.SetLogger(slog.DiscardHandler) // errors are returned, and the log may contain secrets
	global := fs.GetConfig(context.Background())
	global.LogLevel = fs.LogLevelOff
	global.AskPassword = false
	global.LowLevelRetries = 1 // tries, one second apart, to save a token to a file that cannot be written
	if file == "" {
		file = os.Getenv("RCLONE_CONFIG")
	}
	if file != "" {
		if _, err := os.Stat(file); err != nil {
			return err
		}
		if err := config.SetConfigPath(file); err != nil {
			return err
		}
	}
	configfile.Install()
	// Load it here: a later load would end the process if it failed.
	if err := config.Data().Load(); err != nil && !errors.Is(err, config.ErrorConfigFileNotFound) {
		return fmt.Errorf("%s: %w", config.GetConfigPath(), err)
	}
	config.LoadedData()
	return nil
}

// File is a file to put at a remote.
type File struct {
	Name   string // at the remote
	Path   string // on this machine
	Size   int64
	SHA256 string
	// Sender is a part of the temporary name. It must differ between senders that
	// may send the same file at the same time. It may be empty.
	Sender string
	// RemoveLeftovers says to remove the temporary files of other senders when the
	// file is there: a sender that dies leaves one behind.
	RemoveLeftovers bool
}

// Step is how far a try has got.
type Step int

const (
	Sending   Step = iota // the name is free, and sending starts
	Uploaded              // all bytes were sent, under a temporary name
	Sent                  // they were checked at the remote
	Renamed               // the file has its name
	Confirmed             // it was checked under its name, or the receiver has already taken it
)

func (s Step) String() string {
	return [...]string{"sending", "uploaded", "sent", "renamed", "confirmed"}[s]
}

// ErrTaken says that a different file already has the name. Put never overwrites
// it.
var ErrTaken = errors.New("a different file already has this name")

// ErrChanged says that the file here is not what it should be.
var ErrChanged = errors.New("was changed")

// temporary returns the name of a file while it is being sent. It is always the same
// for a sender, so that a try overwrites what an earlier one left.
func temporary(name, sender string) string {
	if sender != "" {
		sender = "." + sender
	}
	return name + sender + part
}

const part = ".part"

// Timeouts of a connection. They are variables for tests of hanging connections.
var (
	connectTimeout = 30 * time.Second
	idleTimeout    = time.Minute
)

// busy locks each target for one try at a time. A try that was given up may continue
// until its connection times out; until then no other starts.
var busy = struct {
	sync.Mutex
	of map[string]chan struct{}
}{of: map[string]chan struct{}{}}

func lock(ctx context.Context, target string) (unlock func(), err error) {
	busy.Lock()
	l := busy.of[target]
	if l == nil {
		l = make(chan struct{}, 1)
		busy.of[target] = l
	}
	busy.Unlock()
	select {
	case l <- struct{}{}:
		return func() { <-l }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("an earlier try is still hanging: %w", context.Cause(ctx))
	}
}

// Put puts a file into a target, which is a folder. If the file is already there under
// its name, Put only confirms that. Otherwise it sends the file under a temporary
// name, checks it, renames it and checks it again. Each check compares the size and a
// hash; if the remote has no hash, it reads the file back. Once the file has its name,
// the receiver may take it away at any time.
//
// Put is one try, and is safe to repeat after any result. It returns at the latest when
// ctx ends. The error is ErrTaken if another file has the name. Put calls reached with
// each step before it starts the next, and never after it has returned.
func Put(ctx context.Context, target string, f File, reached func(Step)) error {
	var mu sync.Mutex // guards returned, and calls of reached
	returned := false
	return useTarget(ctx, target, func(ctx context.Context, folder fs.Fs) error {
		p := attempt{folder: folder, file: f, types: folder.Hashes()}
		if p.types.Contains(hash.SHA256) {
			p.types = hash.NewHashSet(hash.SHA256)
		}
		if err := p.computeSums(); err != nil {
			return err
		}
		return p.run(ctx, func(s Step) {
			mu.Lock()
			defer mu.Unlock()
			if !returned {
				reached(s)
			}
		})
	}, func() {
		mu.Lock()
		defer mu.Unlock()
		returned = true
	})
}

// Names lists the files and folders in a target; none if there is no such target.
func Names(ctx context.Context, target string) (names []string, err error) {
	result := make(chan []string, 1)
	err = useTarget(ctx, target, func(ctx context.Context, folder fs.Fs) error {
		list, err := folder.List(ctx, "")
		if err != nil && !errors.Is(err, fs.ErrorDirNotFound) {
			return fmt.Errorf("list: %w", err)
		}
		var names []string
		for _, e := range list {
			names = append(names, path.Base(e.Remote()))
		}
		result <- names
		return nil
	}, func() {})
	if err != nil {
		return nil, err
	}
	return <-result, nil
}

// useTarget calls f with a target. It returns at the latest when ctx ends. If f is still
// running then, it calls left first.
func useTarget(ctx context.Context, target string, f func(ctx context.Context, folder fs.Fs) error, left func()) error {
	at, err := parseTarget(target)
	if err != nil {
		return err
	}
	unlock, err := lock(ctx, target)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	// In a goroutine, since not every backend looks at ctx while it reads or writes.
	go func() {
		defer unlock()
		done <- connect(ctx, at, f)
	}()
	select {
	case err := <-done:
		return redact(err, at.secrets()...)
	case <-ctx.Done():
		left()
		return fmt.Errorf("given up: %w", context.Cause(ctx))
	}
}

// connect connects to a target, and calls f with it.
func connect(ctx context.Context, at backend, f func(ctx context.Context, folder fs.Fs) error) error {
	ctx, c := fs.AddConfig(ctx)
	c.ConnectTimeout = fs.Duration(connectTimeout)
	c.Timeout = fs.Duration(idleTimeout)
	c.LowLevelRetries = 1 // the caller pauses and retries
	if at.info.Options.Get("token") == nil {
		// A backend without a token must not save what it learnt about the server:
		// that would rewrite the operator's file.
		at.values.ClearSetters()
	}
	// Nobody needs the times of the files, and some servers (SFTP without SETSTAT, a
	// share that another user owns) refuse to set them. Then the file would be there,
	// but the try would have failed. The operator's own settings come before these.
	at.values.AddGetter(configmap.Simple{"set_modtime": "false", "no_set_modtime": "true"}, configmap.PriorityConfig)
	folder, err := at.info.NewFs(ctx, at.name, at.path, at.values)
	if errors.Is(err, fs.ErrorIsFile) {
		return errors.New("the target is a file, not a folder")
	}
	if err != nil {
		return err
	}
	// Each try has its own connection, so that a dead one ends with its try.
	if shutdown := folder.Features().Shutdown; shutdown != nil {
		defer shutdown(context.WithoutCancel(ctx))
	}
	return f(ctx, folder)
}

// attempt is one try.
type attempt struct {
	folder fs.Fs
	file   File
	types  hash.Set // the hashes that the remote has
	sums   map[hash.Type]string
}

// computeSums computes the hashes of the file on this machine that are needed.
func (p *attempt) computeSums() error {
	in, err := os.Open(p.file.Path)
	if err != nil {
		return err
	}
	defer in.Close()
	p.sums, err = hash.StreamTypes(in, hash.NewHashSet(append(p.types.Array(), hash.SHA256)...))
	if err == nil && p.sums[hash.SHA256] != p.file.SHA256 {
		err = fmt.Errorf("%s %w: its SHA-256 is %s and should be %s", p.file.Path, ErrChanged, p.sums[hash.SHA256], p.file.SHA256)
	}
	return err
}

func (p *attempt) run(ctx context.Context, reached func(Step)) error {
	if err := p.makeFolder(ctx); err != nil {
		return err
	}
	part := temporary(p.file.Name, p.file.Sender)
	switch there, err := p.isThere(ctx); {
	case err != nil:
		return err
	case there: // an earlier try got this far
		return p.confirm(ctx, part, reached)
	}
	reached(Sending)
	if err := p.upload(ctx, part); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	reached(Uploaded)
	found, difference, err := p.compare(ctx, part)
	if err != nil {
		return err
	}
	if !found || difference != "" {
		return errors.Join(fmt.Errorf("the file at the remote is not what was sent: found %v, %s", found, difference), p.remove(ctx, part))
	}
	if err := p.sync(part); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	reached(Sent)
	// Not every backend refuses to rename over another file.
	switch there, err := p.isThere(ctx); {
	case err != nil:
		return errors.Join(err, p.remove(ctx, part))
	case there: // another sender has put it there
		return p.confirm(ctx, part, reached)
	}
	// After a rename, backends look for the file under its new name. If it is not
	// there, the receiver has already taken it.
	if err := p.rename(ctx, part); err != nil && !errors.Is(err, fs.ErrorObjectNotFound) {
		return fmt.Errorf("rename: %w", err)
	}
	reached(Renamed)
	if _, err := p.isThere(ctx); err != nil {
		return err
	}
	return p.confirm(ctx, part, reached)
}

// makeFolder creates the folder, but never on this machine. A folder that is missing
// here may be a share that is not mounted, and files in it would reach nobody.
func (p *attempt) makeFolder(ctx context.Context) error {
	if !p.folder.Features().IsLocal {
		if err := p.folder.Mkdir(ctx, ""); err != nil {
			return fmt.Errorf("make the folder: %w", err)
		}
		return nil
	}
	info, err := os.Stat(p.folder.Root())
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("there is no folder %s: mount its share, or create it", p.folder.Root())
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder", p.folder.Root())
	}
	return nil
}

// confirm ends a try: the file is there under its name, or was already taken.
func (p *attempt) confirm(ctx context.Context, part string, reached func(Step)) error {
	if err := p.remove(ctx, part); err != nil {
		return err
	}
	if p.file.RemoveLeftovers {
		p.removeLeftovers(ctx)
	}
	if err := p.sync(p.file.Name); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	reached(Confirmed)
	return nil
}

// removeLeftovers removes the temporary files of other senders. If the folder cannot
// be listed, they stay.
func (p *attempt) removeLeftovers(ctx context.Context) {
	entries, err := p.folder.List(ctx, "")
	if err != nil {
		return
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Remote(), p.file.Name+".") && strings.HasSuffix(e.Remote(), part) {
			p.remove(ctx, e.Remote())
		}
	}
}

// sync makes a file in a folder of this machine durable, which rclone does not. Other
// remotes do that themselves.
func (p *attempt) sync(name string) error {
	if !p.folder.Features().IsLocal {
		return nil
	}
	for _, path := range []string{filepath.Join(p.folder.Root(), name), p.folder.Root()} {
		f, err := os.Open(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue // it was taken already
		case errors.Is(err, os.ErrPermission) && path == p.folder.Root():
			continue // a drop box: it accepts files, but cannot be listed
		case err != nil:
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// isThere reports whether the file is at the remote under its name. The error is
// ErrTaken if a different file is.
func (p *attempt) isThere(ctx context.Context) (bool, error) {
	found, difference, err := p.compare(ctx, p.file.Name)
	if difference != "" {
		err = fmt.Errorf("%s: %w: %s", p.file.Name, ErrTaken, difference)
	}
	return found && err == nil, err
}

// compare looks for a name at the remote, and says how what it finds there differs
// from the file; "" if it does not.
func (p *attempt) compare(ctx context.Context, name string) (found bool, difference string, err error) {
	if err := ctx.Err(); err != nil {
		return false, "", err
	}
	o, err := p.folder.NewObject(ctx, name)
	switch {
	case errors.Is(err, fs.ErrorObjectNotFound), errors.Is(err, fs.ErrorDirNotFound):
		return false, "", nil
	case errors.Is(err, fs.ErrorIsDir), errors.Is(err, fs.ErrorNotAFile):
		return true, "it is a folder", nil
	case err != nil:
		return false, "", fmt.Errorf("look at %s: %w", name, err)
	case o.Size() >= 0 && o.Size() != p.file.Size: // some servers do not say
		return true, fmt.Sprintf("it has %d bytes, not %d", o.Size(), p.file.Size), nil
	}
	differs := func(t hash.Type, sum string) string {
		if strings.EqualFold(sum, p.sums[t]) {
			return ""
		}
		return fmt.Sprintf("its %v is %s, not %s", t, sum, p.sums[t])
	}
	for _, t := range p.types.Array() {
		// Some remotes have a hash in general, but not for this file.
		if sum, err := o.Hash(ctx, t); err == nil && sum != "" {
			return true, differs(t, sum), nil
		}
	}
	sum, err := readBack(ctx, o)
	if err != nil {
		if _, err := p.folder.NewObject(ctx, name); errors.Is(err, fs.ErrorObjectNotFound) {
			return false, "", nil // it was taken while it was being read
		}
		return true, "", fmt.Errorf("read back %s: %w", name, err)
	}
	return true, differs(hash.SHA256, sum), nil
}

// readBack returns the SHA-256 of the file at the remote.
func readBack(ctx context.Context, o fs.Object) (string, error) {
	in, err := o.Open(ctx)
	if err != nil {
		return "", err
	}
	defer in.Close()
	sums, err := hash.StreamTypes(ctxReader{ctx, in}, hash.NewHashSet(hash.SHA256))
	return sums[hash.SHA256], err
}

func (p *attempt) upload(ctx context.Context, name string) error {
	in, err := os.Open(p.file.Path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	// Send no hashes. If the server computes none (S3 in parts or with encryption,
	// Azure Blob in blocks, Nextcloud), rclone would store ours there, and compare
	// would see that instead of a hash of the file.
	_, err = p.folder.Put(ctx, ctxReader{ctx, in}, object.NewStaticObjectInfo(name, info.ModTime(), p.file.Size, true, nil, nil))
	return err
}

// rename gives a file its name. An object store cannot rename: there the file is
// copied, which makes it appear as a whole, and the source is removed.
func (p *attempt) rename(ctx context.Context, part string) error {
	o, err := p.folder.NewObject(ctx, part)
	if err != nil {
		return fmt.Errorf("%s is gone: %v", part, err) // %v: run must not take it for a file that was taken
	}
	if move := p.folder.Features().Move; move != nil {
		_, err = move(ctx, o, p.file.Name)
		return err
	}
	if copies := p.folder.Features().Copy; copies != nil {
		if _, err := copies(ctx, o, p.file.Name); err != nil {
			return err
		}
		return o.Remove(ctx)
	}
	return errors.New("this remote cannot rename files")
}

// remove removes a file if it is there.
func (p *attempt) remove(ctx context.Context, name string) error {
	o, err := p.folder.NewObject(ctx, name)
	if errors.Is(err, fs.ErrorObjectNotFound) || errors.Is(err, fs.ErrorDirNotFound) {
		return nil
	}
	if err == nil {
		err = o.Remove(ctx)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

// ctxReader reads until ctx ends.
type ctxReader struct {
	ctx context.Context
	io.Reader
}

func (r ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
