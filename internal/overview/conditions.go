package overview

import (
	"strings"

	"quell/internal/wording"
)

// remedies says what to do about a condition, by words in its text. The first that fits counts.
// docs/operations.md, "When something breaks", says more about each.
var remedies = []struct{ has, do string }{
	{"shutting down", "Nothing: quell was told to stop."},
	{"disk is full", "Do not restart quell. Make room on the disk of data_dir; quell tries again every second."},
	{"no space left", "Do not restart quell. Make room on the disk of data_dir; quell tries again every second."},
	{"database is locked", "Another program holds the database, such as a backup or an open sqlite3: end it."},
	{"is not a database", "The database is damaged. Stop quell, and restore a backup."},
	{"disk image is malformed", "The database is damaged. Stop quell, and restore a backup."},
	{"failed to connect to", "No PostgreSQL server that takes writes can be reached: see whether it fails over."},
	{"store is being opened", "Wait. If this stays, look for errors in the log."},
	{"are being read", "Wait: quell has just started, or reads changed files."},
	{"the store does not answer", "Find out why the database does not answer. Alerts pass meanwhile."},
	{"the store cannot be read", "Find out why the database does not answer. Messages may be fine."},
	{"the journal cannot be written", "Make room on the disk of data_dir, or repair it, before you restart quell."},
	{"records of the journal were lost", "Keep the log of that time, and tell those who read the reports."},
	{"the journal holds", "Find out why the store does not take them. They go in by themselves."},
	{"there is no device list", "Import a device list, or name one in device_list."},
	{"the device list has no devices", "Import a device list with meters in it."},
	{"there is no inventory", "Import the inventory, or name its files in inventory."},
	{"in the device list are not tracked", "If their activations cause AD1s, add the manufacturers to manufacturers; otherwise take the meters off the list."},
	{"suppliers: the list is empty", "Set suppliers, so that only they can open windows."},
	{"has sent more than", "Ask the supplier whether that is its campaign. If so, raise max_activations_per_hour and send SIGHUP."},
	{"nodes have different settings", "Make the configuration files of the nodes equal, and send SIGHUP."},
	{"clock is", "Check NTP on this machine."},
	{"the clock", "Check NTP on this machine."},
	{"next hop", "Find out why the next hop does not take messages: its host, the network, its certificate."},
	{"insecure is true", "Set up TLS, unless only trusted machines share that network."},
	{"console.socket", "Repair the folder of the socket; quell tries again every 10 seconds."},
	{"console.oidc", "Read the error. The next login tries again; the socket and tokens work."},
	{"expire", "Replace the certificate before then."},
	{"certificates:", "Fix the files that it names; quell config check lists them all."},
	{"no AD1 has come", "Ask the CSPs whether they send AD1s here; look at the load balancer."},
	{"alerts were suppressed within", "Look at the suppression log. In doubt turn the switch off."},
	{"released alerts wait", "Find out why the northbound next hop does not take them; quell goes on trying."},
	{"evidence on suppressed alerts is not assessed", "Read the error: it is of the store. quell catches up by itself."},
	{"sightings were lost", "Find out why the store was slow or away. Evidence on some alerts may be missing."},
	{"syslog", "Find out why the syslog receiver does not take records. They wait in the store."},
	{"the service audit trail", "Read the error: the disk of data_dir may be full. Messages are not affected."},
	{"the recording", "Read the error: the disk of data_dir may be full. Messages are not affected."},
	{"the log:", "Whatever reads the log is too slow, or its disk is full."},
	{"report", "See the page or the command quell report list: the error says which remote, and why."},
	{"remote", "See the command quell report list: the error says which remote, and why."},
	{"connections", "Find out who holds the connections; raise the limit of the listener if they are all needed."},
	{"messages are under way", "Find out who sends so many messages at once."},
	{"device_list", "Put the file right. What was in force stays until quell can take it."},
	{"inventory", "Put the file right. What was in force stays until quell can take it."},
}

// Wrong is a condition, and what to do about it.
type Wrong struct{ Text, Do string }

// explained adds what to do to conditions.
func explained(conditions []string) (list []Wrong) {
	for _, text := range conditions {
		w := Wrong{Text: wording.Sentence(text), Do: "Search for these words in docs/operations.md, “When something breaks”."}
		for _, r := range remedies {
			if strings.Contains(text, r.has) {
				w.Do = r.do
				break
			}
		}
		list = append(list, w)
	}
	return list
}
