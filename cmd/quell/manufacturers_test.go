package main

import (
	"context"
	"strings"
	"syscall"
	"testing"

	"quell/internal/console"
)

// The commands say which listed meters have manufacturers that are not tracked,
// with a quell that runs and without; so does the log after an import that the
// configuration asks for.
func TestImportSaysOtherManufacturers(t *testing.T) {
	hop := accept(t)
	i := install(t, hop, hop, "")
	i.serve().stop(syscall.SIGTERM) // the data folder comes to be
	const says = `1 meter in the device list is not tracked, since its manufacturer is not in "manufacturers": "Elster" (1)`
	inv := i.file("inventory.csv", inventoryHead+strings.Replace(someDevice, "Landis+Gyr", "Elster", 1))
	list := i.file("list.txt", someMeter+"\n")
	imports := func(want bool, args ...string) {
		t.Helper()
		status, out, errs := i.quell(args...)
		if status != 0 || strings.Contains(out, says) != want {
			t.Errorf("quell %v: status %d, want the manufacturers: %v\n%s%s", args, status, want, out, errs)
		}
	}
	imports(false, "inventory", "import", inv)
	imports(true, "devices", "import", list)
	p := i.serve()
	degraded := func() string {
		s, err := (&console.Client{Base: p.admin}).Status(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(s.Degraded, "\n")
	}
	wait(t, "degraded says it after the start", func() bool { return strings.Contains(degraded(), says) })
	imports(true, "inventory", "import", inv)
	imports(false, "inventory", "import", i.file("right.csv", inventoryHead+someDevice))
	wait(t, "degraded says it no more", func() bool { return !strings.Contains(degraded(), says) })
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}

	i = install(t, hop, hop, "device_list: "+list+"\ninventory: ["+inv+"]\n")
	p = i.serve()
	logged := strings.ReplaceAll(says, `"`, `\"`)
	wait(t, "the log says it", func() bool { return strings.Contains(p.log.String(), logged) })
	i.write(string(read(t, i.config)) + "manufacturers: [Landis+Gyr, elster]\n")
	p.Process.Signal(syscall.SIGHUP)
	wait(t, "the log says that all are tracked", func() bool { return strings.Contains(p.log.String(), "all listed meters are tracked now") })
	if strings.Contains(degraded(), "Elster") {
		t.Error("degraded still says it")
	}
}
