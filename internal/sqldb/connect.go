package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// parsePostgres reads the address of a database as libpq does, with the variables of the
// environment. Of several hosts it uses the one that takes writes, unless
// target_session_attrs says something else. Unless connect_timeout is set, all hosts are
// tried within remoteTimeout, so that one that is silent leaves time for the others and
// for a transaction. A name counts as one host, however many addresses it has.
func parsePostgres(address string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, err
	}
	if config.ValidateConnect == nil {
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	if config.ConnectTimeout == 0 {
		type host struct {
			name string
			port uint16
		}
		hosts := map[host]bool{{config.Host, config.Port}: true}
		for _, f := range config.Fallbacks { // one host may be in it twice: with TLS, and without
			hosts[host{f.Host, f.Port}] = true
		}
		config.ConnectTimeout = remoteTimeout / time.Duration(len(hosts)+1)
	}
	config.RuntimeParams["application_name"] = "quell"
	return config, nil
}

// CheckAddress says what is wrong with the address of a PostgreSQL database, as far as
// that is known without connecting to it.
func CheckAddress(address string) error {
	_, err := parsePostgres(address)
	return err
}

// openPostgres opens a database. The connections that read have statements described, but
// do not prepare them: behind a pooler, each transaction may be on another connection of
// the server.
func openPostgres(address string) (conn, *readers, error) {
	config, err := parsePostgres(address)
	if err != nil {
		return nil, nil, err
	}
	read := config.Copy()
	read.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	pooled, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, nil, err
	}
	pooled.ConnConfig, pooled.MaxConns = read, maxReaders
	pool, err := pgxpool.NewWithConfig(context.Background(), pooled)
	if err != nil {
		return nil, nil, err
	}
	return &postgresConn{config: config}, newReaders(sql.OpenDB(dialer{stdlib.GetPoolConnector(pool), pool}), &postgres), nil
}

// dialer makes connections for readers. Some wait less long than it may take to get by a
// host that is silent: the pool makes the connection all the same, and has it for the next
// who asks. Connections that are in use or idle are with sql.DB.
type dialer struct {
	driver.Connector
	pool *pgxpool.Pool
}

// Close ends what nobody has asked for; sql.DB calls it.
func (d dialer) Close() error {
	d.pool.Close()
	return nil
}

// isPooled reports whether a connection goes to a pooler: it gives another process id than
// the server does. Transactions may then be on several connections of the server, which
// share neither prepared statements nor LISTEN.
func isPooled(ctx context.Context, conn *pgx.Conn) (bool, error) {
	var pid uint32
	err := conn.QueryRow(ctx, "SELECT pg_backend_pid()", pgx.QueryExecModeExec).Scan(&pid)
	return pid != conn.PgConn().PID(), err
}

// denied reports whether the server answered that quell has no access. Waiting will not
// change that.
func denied(err error) bool {
	switch class, _ := sqlState(err); class {
	case "28", "3D", "42": // wrong user; no such database; no right, or tables of another version of quell
		return true
	}
	return false
}
