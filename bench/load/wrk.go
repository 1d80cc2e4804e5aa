package load

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Connections is how many senders there are.
const Connections = 64

// wrkScript makes wrk send the messages of a kind. Each has its own number, and all
// hubs take turns.
const wrkScript = `local bit = require "bit"
local text = %s
local parts, n, first, count = {}, %d, %d, %d
for part, mark in text:gmatch("([^\1\2]*)([\1\2]?)") do
	parts[#parts + 1] = part
	if mark ~= "" then parts[#parts + 1] = mark end
end
local numbers, devices = {}, {}
for i, part in ipairs(parts) do
	if part == "\1" then numbers[#numbers + 1] = i end
	if part == "\2" then devices[#devices + 1] = i end
end
local hex = {}
for i = 0, 255 do hex[i] = string.format("%%02X", i) end
function request()
	n = n + 1
	local number, d = tostring(100000000 + n %% 800000000), first + n %% count
	for i = 1, #numbers do parts[numbers[i]] = number end
	if #devices > 0 then
		local device = hex[bit.rshift(d, 24)] .. "-" .. hex[bit.band(bit.rshift(d, 16), 255)] .. "-" ..
			hex[bit.band(bit.rshift(d, 8), 255)] .. "-" .. hex[bit.band(d, 255)]
		for i = 1, #devices do parts[devices[i]] = device end
	end
	return table.concat(parts)
end
` + wrkDone

// wrkStored makes wrk send messages from a file, one after the other.
const wrkStored = `local file = io.open(%q, "rb")
local n, size, head = %d, %d, %s
function request()
	file:seek("set", n * size)
	n = n + 1
	return head .. file:read(size)
end
` + wrkDone

const wrkDone = `function done(summary)
	local e = summary.errors
	io.write(string.format("\nmessages %%d errors %%d\n", summary.requests, e.connect + e.read + e.write + e.status + e.timeout))
end
`

// head returns the head of a message of size bytes, as all senders here write it.
func head(host, path string, size int) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n", path, host, size)
}

// luaString returns a text as Lua writes it.
func luaString(text string) string {
	// Within the long brackets Lua reads every line end as \n, so the head's are escaped.
	var b strings.Builder
	for i, line := range strings.Split(text, "\r\n") {
		if i > 0 {
			b.WriteString(` .. "\r\n" .. `)
		}
		fmt.Fprintf(&b, "[==[\n%s]==]", line)
	}
	return b.String()
}

// Scripted returns the script that sends messages of a kind from number from on.
func Scripted(m *Message, host string, from int64) string {
	text := bytes.ReplaceAll(m.text, []byte(strconv.Itoa(markNumber)), []byte{1})
	text = bytes.ReplaceAll(text, deviceText(markDevice), []byte{2})
	return fmt.Sprintf(wrkScript, luaString(head(host, "/", m.Size())+string(text)), from, m.first, m.count)
}

// StoredIn returns the script that sends messages of size bytes from a file, from
// message from of it on.
func StoredIn(path string, size, from int, host string) string {
	return fmt.Sprintf(wrkStored, path, from, size, luaString(head(host, "/", size)))
}

// Wrk sends messages by a script for a time, on all connections in a closed loop: each
// sends its next message when it has the answer to the last. It returns how many were
// answered, all with success.
func Wrk(ctx context.Context, dir, url, script string, d time.Duration) (int64, error) {
	path := filepath.Join(dir, "wrk.lua")
	if err := os.WriteFile(path, []byte(script), 0o644); err != nil {
		return 0, err
	}
	seconds := strconv.Itoa(max(1, int(d.Round(time.Second)/time.Second))) + "s"
	cmd := exec.CommandContext(ctx, "wrk", "-t1", "-c"+strconv.Itoa(Connections), "-d"+seconds, "--timeout", "10s", "-s", path, url)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("wrk: %w: %s", err, out)
	}
	var messages, failed int64
	at := bytes.LastIndex(out, []byte("\nmessages "))
	if at < 0 {
		return 0, fmt.Errorf("wrk: %s", out)
	}
	if _, err := fmt.Sscanf(string(out[at+1:]), "messages %d errors %d", &messages, &failed); err != nil {
		return 0, fmt.Errorf("wrk: %w: %s", err, out)
	}
	if failed > 0 || messages == 0 {
		return 0, fmt.Errorf("wrk: %d of %d messages failed: %s", failed, messages, out)
	}
	return messages, nil
}
