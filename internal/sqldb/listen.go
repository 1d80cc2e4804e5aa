package sqldb

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// ServerTime is SQL for the clock of a PostgreSQL server, in microseconds since 1970.
const ServerTime = `CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)`

// Listen puts a token into the channel, if there is room, each time that any node commits
// a transaction with Tx.Notify, until ctx ends. It connects again when the connection
// breaks. It returns at once where there are no notifications: with SQLite, and through a
// pooler.
func (db *DB) Listen(ctx context.Context, notified chan<- struct{}) {
	if !db.Remote() {
		return
	}
	config, err := parsePostgres(db.opts.Address)
	if err != nil {
		return // cannot happen: Open has parsed the address
	}
	for ctx.Err() == nil {
		pooled, err := listenOnce(ctx, config, notified)
		if pooled {
			return
		}
		if err != nil {
			db.log.Debug("the database sends no notifications of changes; it is polled", "error", err)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

func listenOnce(ctx context.Context, config *pgx.ConnConfig, notified chan<- struct{}) (pooled bool, err error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return false, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if pooled, err = isPooled(ctx, conn); pooled || err != nil {
		return pooled, err
	}
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return false, err
	}
	for {
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return false, err
		}
		select {
		case notified <- struct{}{}:
		default:
		}
	}
}

// channel is the name of the notifications.
const channel = "quell"
