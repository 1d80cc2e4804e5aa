package main

import (
	"strings"
	"syscall"
	"testing"

	"quell/internal/store/storetest"
)

// After an import of a configured file, the log says which listed meters have manufacturers
// that are not tracked. It also says when there are none any more.
func TestLogSaysOtherManufacturers(t *testing.T) {
	hop := accept(t)
	i := install(t, hop, hop, "")
	const says = `1 meter in the device list is not tracked, since its manufacturer is not in \"manufacturers\": \"Elster\" (1)`
	inv := i.file("inventory.csv", inventoryHead+strings.Replace(someDevice, "Landis+Gyr", "Elster", 1))
	list := i.file("list.txt", someMeter+"\n")
	i.write(string(read(t, i.config)) + "device_list: " + list + "\ninventory: [" + inv + "]\n")
	p := i.serve()
	storetest.Eventually(t, "the log says it", func() bool { return strings.Contains(p.log.String(), says) })
	i.write(string(read(t, i.config)) + "manufacturers: [Landis+Gyr, elster]\n")
	p.Process.Signal(syscall.SIGHUP)
	storetest.Eventually(t, "the log says that all are tracked", func() bool { return strings.Contains(p.log.String(), "all listed meters are tracked now") })
	if strings.Contains(p.degraded(t), "Elster") {
		t.Error("degraded still says it")
	}
}
