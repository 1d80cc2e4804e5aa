// Package remote puts files where others fetch them, through rclone: exactly
// one file with the right content under its name, however often it is tried and
// wherever a try is cut off.
//
// Targets are written as for rclone. Of its backends those for folders, SFTP,
// WebDAV, OneDrive and SharePoint, S3 and Azure Blob are built in.
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

// NoConfig is a configuration file for Configure that stands for none.
const NoConfig = os.DevNull

// Configure names the configuration file of rclone, in which targets are looked
// up; if it is empty, that is the one of the variable RCLONE_CONFIG, or else
// rclone's own place. It is called once, before anything else, and counts for
// the process. Nothing is ever asked on the terminal.
func Configure(file string) error {
	fs.SetLogger(slog.DiscardHandler) // its errors are returned, and its log may hold secrets
	global := fs.GetConfig(context.Background())
	global.LogLevel = fs.LogLevelOff
	global.AskPassword = false
	global.LowLevelRetries = 1 // so often, a second apart, it tries to save a token to a file that cannot be written
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
	// Here, since what loads it later ends the process if it cannot.
	if err := config.Data().Load(); err != nil && !errors.Is(err, config.ErrorConfigFileNotFound) {
		return fmt.Errorf("%s: %w", config.GetConfigPath(), err)
	}
	config.LoadedData()
	return nil
}

// File is what is to stand at a remote.
type File struct {
	Name   string // there
	Path   string // here
	Size   int64
	SHA256 string
	// Sender tells apart those who may send the same file at once; it becomes a
	// part of the temporary name. It may be empty.
	Sender string
	// Litter has temporary files of other senders removed, once the file stands
	// there: a sender that died leaves one behind.
	Litter bool
}

// Step is how far a try has got.
type Step int

const (
	Sending   Step = iota // the name is free, and sending begins
	Uploaded              // all bytes were sent, under a temporary name
	Sent                  // and stand there, checked
	Renamed               // the file has its name
	Confirmed             // and stands there, checked, or was taken already
)

func (s Step) String() string {
	return [...]string{"sending", "uploaded", "sent", "renamed", "confirmed"}[s]
}

// ErrTaken says that a different file has the name already. It is never
// overwritten.
var ErrTaken = errors.New("a different file already has this name")

// ErrChanged says that the file here is not what it should be.
var ErrChanged = errors.New("was changed")

// temporary is the name of a file while it is sent. It is always the same for a
// sender, so that a try overwrites what an earlier one has left.
func temporary(name, sender string) string {
	if sender != "" {
		sender = "." + sender
	}
	return name + sender + part
}

const part = ".part"

// Times of a connection; a variable, for tests of those that hang.
var (
	connectTimeout = 30 * time.Second
	idleTimeout    = time.Minute
)

// busy has the targets that a try is under way to. A try that was given up may
// go on until its connection times out; none begins beside it.
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
		return nil, fmt.Errorf("an earlier try still hangs: %w", context.Cause(ctx))
	}
}

// Put makes a file stand at a target, which is a folder, under its name. If it
// stands there already, that is found out. Otherwise it is sent under a
// temporary name, checked, renamed and checked again. Each time the size and,
// where the remote has any, a hash is compared; where it has none, the file is
// read back. Once renamed, it may be taken away at any time.
//
// It is one try, and may be repeated whatever came of it. It returns when ctx
// ends, at the latest. The error is ErrTaken if the name is taken. reached is
// told each step before the next one, and never after Put has returned.
func Put(ctx context.Context, target string, f File, reached func(Step)) error {
	var mu sync.Mutex // guards what follows
	gone := false
	return within(ctx, target, func(ctx context.Context, folder fs.Fs) error {
		p := put{folder: folder, file: f, types: folder.Hashes()}
		if p.types.Contains(hash.SHA256) {
			p.types = hash.NewHashSet(hash.SHA256)
		}
		if err := p.sum(); err != nil {
			return err
		}
		return p.run(ctx, func(s Step) {
			mu.Lock()
			defer mu.Unlock()
			if !gone {
				reached(s)
			}
		})
	}, func() {
		mu.Lock()
		defer mu.Unlock()
		gone = true
	})
}

// Names lists what stands at a target, if it is there at all.
func Names(ctx context.Context, target string) (names []string, err error) {
	result := make(chan []string, 1)
	err = within(ctx, target, func(ctx context.Context, folder fs.Fs) error {
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

// within uses a target by f, and returns when ctx ends at the latest; left is called
// before, if f still runs then.
func within(ctx context.Context, target string, f func(ctx context.Context, folder fs.Fs) error, left func()) error {
	at, err := find(target)
	if err != nil {
		return err
	}
	unlock, err := lock(ctx, target)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	// On its own, since not every backend looks at ctx while it reads or writes.
	go func() {
		defer unlock()
		done <- try(ctx, at, f)
	}()
	select {
	case err := <-done:
		return redact(err, at.secrets()...)
	case <-ctx.Done():
		left()
		return fmt.Errorf("given up: %w", context.Cause(ctx))
	}
}

// try connects to a target, and uses it by f.
func try(ctx context.Context, at backend, f func(ctx context.Context, folder fs.Fs) error) error {
	ctx, c := fs.AddConfig(ctx)
	c.ConnectTimeout = fs.Duration(connectTimeout)
	c.Timeout = fs.Duration(idleTimeout)
	c.LowLevelRetries = 1 // pauses and repeats are the caller's
	if at.info.Options.Get("token") == nil {
		// Others would save what they found out about the server, and write the
		// operator's file anew for it.
		at.values.ClearSetters()
	}
	// Times of files are of no use here, and some servers (SFTP without SETSTAT, a
	// share that another user owns) refuse to set them: the file would be there, and
	// the try have failed. What the operator sets counts before this.
	at.values.AddGetter(configmap.Simple{"set_modtime": "false", "no_set_modtime": "true"}, configmap.PriorityConfig)
	folder, err := at.info.NewFs(ctx, at.name, at.path, at.values)
	if errors.Is(err, fs.ErrorIsFile) {
		return errors.New("the target is a file, not a folder")
	}
	if err != nil {
		return err
	}
	// A connection of its own for each try, so that a dead one outlives none.
	if shutdown := folder.Features().Shutdown; shutdown != nil {
		defer shutdown(context.WithoutCancel(ctx))
	}
	return f(ctx, folder)
}

// put is one try.
type put struct {
	folder fs.Fs
	file   File
	types  hash.Set // those that the remote has
	sums   map[hash.Type]string
}

// sum sums the file that is to be sent, by all the hashes that are needed.
func (p *put) sum() error {
	in, err := os.Open(p.file.Path)
	if err != nil {
		return err
	}
	defer in.Close()
	p.sums, err = hash.StreamTypes(in, hash.NewHashSet(append(p.types.Array(), hash.SHA256)...))
	if err == nil && p.sums[hash.SHA256] != p.file.SHA256 {
		err = fmt.Errorf("%s %w: its SHA-256 is %s, and was %s", p.file.Path, ErrChanged, p.sums[hash.SHA256], p.file.SHA256)
	}
	return err
}

func (p *put) run(ctx context.Context, reached func(Step)) error {
	if err := p.makeFolder(ctx); err != nil {
		return err
	}
	part := temporary(p.file.Name, p.file.Sender)
	switch stands, err := p.named(ctx); {
	case err != nil:
		return err
	case stands: // a try before this one got so far
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
		return errors.Join(fmt.Errorf("what was sent does not stand there: found %v, %s", found, difference), p.remove(ctx, part))
	}
	if err := p.sync(part); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	reached(Sent)
	// Not every backend refuses to rename over another file.
	switch stands, err := p.named(ctx); {
	case err != nil:
		return errors.Join(err, p.remove(ctx, part))
	case stands: // somebody else has put it there
		return p.confirm(ctx, part, reached)
	}
	// Backends look for the file once the remote has said that it is renamed. If
	// it is not there, whoever waits for it was quick to take it.
	if err := p.rename(ctx, part); err != nil && !errors.Is(err, fs.ErrorObjectNotFound) {
		return fmt.Errorf("rename: %w", err)
	}
	reached(Renamed)
	if _, err := p.named(ctx); err != nil {
		return err
	}
	return p.confirm(ctx, part, reached)
}

// makeFolder makes the folder, but none of this machine's: where one is missing, a
// share may not be mounted, and files would be confirmed that nobody ever gets.
func (p *put) makeFolder(ctx context.Context) error {
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
		return fmt.Errorf("%s is no folder", p.folder.Root())
	}
	return nil
}

// confirm ends a try that found the file under its name, or taken already.
func (p *put) confirm(ctx context.Context, part string, reached func(Step)) error {
	if err := p.remove(ctx, part); err != nil {
		return err
	}
	if p.file.Litter {
		p.tidy(ctx)
	}
	if err := p.sync(p.file.Name); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	reached(Confirmed)
	return nil
}

// tidy removes what other senders left of the file. Not every folder may be
// listed; then it stays.
func (p *put) tidy(ctx context.Context) {
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

// sync makes durable what stands in a folder of this machine, which rclone does
// not. Other remotes see to that themselves.
func (p *put) sync(name string) error {
	if !p.folder.Features().IsLocal {
		return nil
	}
	for _, path := range []string{filepath.Join(p.folder.Root(), name), p.folder.Root()} {
		f, err := os.Open(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue // it was taken
		case errors.Is(err, os.ErrPermission) && path == p.folder.Root():
			continue // a drop box: files may be put into it, but not listed
		case err != nil:
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// named reports whether the file stands at the remote under its name. The error
// is ErrTaken if another does.
func (p *put) named(ctx context.Context) (bool, error) {
	found, difference, err := p.compare(ctx, p.file.Name)
	if difference != "" {
		err = fmt.Errorf("%s: %w: %s", p.file.Name, ErrTaken, difference)
	}
	return found && err == nil, err
}

// compare looks at what stands at the remote under a name, and says how it
// differs from the file, if it does.
func (p *put) compare(ctx context.Context, name string) (found bool, difference string, err error) {
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
	case o.Size() >= 0 && o.Size() != p.file.Size: // some servers do not tell
		return true, fmt.Sprintf("it has %d bytes, not %d", o.Size(), p.file.Size), nil
	}
	differs := func(t hash.Type, sum string) string {
		if strings.EqualFold(sum, p.sums[t]) {
			return ""
		}
		return fmt.Sprintf("its %v is %s, not %s", t, sum, p.sums[t])
	}
	for _, t := range p.types.Array() {
		// Some remotes have a hash in principle, and then for this file none.
		if sum, err := o.Hash(ctx, t); err == nil && sum != "" {
			return true, differs(t, sum), nil
		}
	}
	sum, err := readBack(ctx, o)
	if err != nil {
		if _, err := p.folder.NewObject(ctx, name); errors.Is(err, fs.ErrorObjectNotFound) {
			return false, "", nil // it was taken while it was read
		}
		return true, "", fmt.Errorf("read back %s: %w", name, err)
	}
	return true, differs(hash.SHA256, sum), nil
}

// readBack is the SHA-256 of what a remote gives back.
func readBack(ctx context.Context, o fs.Object) (string, error) {
	in, err := o.Open(ctx)
	if err != nil {
		return "", err
	}
	defer in.Close()
	sums, err := hash.StreamTypes(until{ctx, in}, hash.NewHashSet(hash.SHA256))
	return sums[hash.SHA256], err
}

func (p *put) upload(ctx context.Context, name string) error {
	in, err := os.Open(p.file.Path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	// No hashes go along. Where the server computes none (S3 in parts or with
	// encryption, Azure Blob in blocks, Nextcloud), rclone would have it keep
	// ours, and compare would be told what we said rather than what stands there.
	_, err = p.folder.Put(ctx, until{ctx, in}, object.NewStaticObjectInfo(name, info.ModTime(), p.file.Size, true, nil, nil))
	return err
}

// rename gives a file its name. Where files cannot be renamed, in object stores,
// it is copied within the store, which makes it appear whole, and the copy's
// source removed.
func (p *put) rename(ctx context.Context, part string) error {
	o, err := p.folder.NewObject(ctx, part)
	if err != nil {
		return fmt.Errorf("%s is gone: %v", part, err) // not as the error that run looks for
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

// remove removes a file, if it is there.
func (p *put) remove(ctx context.Context, name string) error {
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

// until reads until ctx ends.
type until struct {
	ctx context.Context
	io.Reader
}

func (r until) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
