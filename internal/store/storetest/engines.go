package storetest

import (
	"crypto/sha256"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// ServerVariable is the environment variable with a PostgreSQL server for tests: an address with
// %s for the name of the database. Without it a server is started, once for each package. With
// it, benchmarks run on PostgreSQL.
const ServerVariable = "QUELL_TEST_POSTGRES"

// EachEngine runs a test on SQLite and on PostgreSQL.
func EachEngine(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Run("sqlite", test)
	t.Run("postgres", func(t *testing.T) {
		shared(t)
		test(t)
	})
}

// OnlyPostgres runs a test of nodes that share a database.
func OnlyPostgres(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) {
		shared(t)
		test(t)
	})
}

// OnPostgres reports whether a test runs on PostgreSQL.
func OnPostgres(t testing.TB) bool {
	if _, ok := t.(*testing.B); ok {
		return os.Getenv(ServerVariable) != ""
	}
	return strings.Contains(t.Name()+"/", "/postgres/")
}

// Database returns the address of a PostgreSQL database for a data folder, and creates it if
// needed; "" if the test runs on SQLite.
func Database(t testing.TB, dir string) string {
	if !OnPostgres(t) {
		return ""
	}
	server := shared(t)
	name := fmt.Sprintf("t%x", sha256.Sum256([]byte(dir)))[:40]
	db, err := sql.Open("pgx", fmt.Sprintf(server, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var there bool
	if err := db.QueryRow(`SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)`, name).Scan(&there); err != nil {
		t.Fatal(err)
	}
	if !there {
		if _, err := db.Exec("CREATE DATABASE " + name); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf(server, name)
}

// one is the server of all tests of a package.
var one struct {
	mu     sync.Mutex
	server *Server
}

// shared returns the address of the server of all tests of a package, with %s for the name of the
// database. It skips the test if there is no PostgreSQL.
func shared(t testing.TB) string {
	if address := os.Getenv(ServerVariable); address != "" {
		return address
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.server == nil {
		s := newServer(t)
		s.initdb()
		s.ctl("start")
		s.t = nil // the server outlives this test
		one.server = s
	}
	return one.server.URL("%s")
}

// Main is for TestMain of a package whose tests use PostgreSQL. It stops the server at the end.
func Main(m *testing.M) {
	status := m.Run()
	if one.server != nil {
		one.server.remove()
	}
	os.Exit(status)
}

// remove stops a server at once, and removes its folder.
func (s *Server) remove() {
	for signal(s.Dir, syscall.SIGKILL) > 0 {
		time.Sleep(time.Millisecond)
	}
	os.RemoveAll(s.Dir)
}
