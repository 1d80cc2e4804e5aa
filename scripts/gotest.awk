# Reads what "go test -v ./..." prints, and prints less of it: the closing line of
# each package, all skips, and everything of a package that failed, except the
# noise of -v. At the end it prints the ten slowest tests. With ci=true it fails
# if a test was skipped that does not say "skip allowed:".

/^=== (RUN|PAUSE|CONT|NAME) / { test = $3; next }
/skip allowed:/               { allowed[test] = 1 }
/^--- (PASS|FAIL): /          { slow($3, $4) }
/^ *--- PASS: /               { next }
/^ *--- SKIP: / {
	test = $3
	# A test may print the output of another run of tests. That is indented more
	# than the test's own lines.
	if (index($0, "-") - 1 != 4 * (split(test, level, "/") - 1)) { lines = lines $0 "\n"; next }
	skipped = skipped "\n    " test
	if (!(test in allowed)) unexpected = unexpected "\n    " test
}
/^(ok  |\?   )\t/ { # the package passed: forget what it printed
	print
	fflush()
	restart()
	next
}
/^FAIL\t/ {
	print lines $0
	fflush()
	restart()
	next
}
{ lines = lines $0 "\n" }

END {
	printf "%s", lines
	if (skipped != "") print "skipped:" skipped
	if (tests > 0) print "slowest, in seconds:"
	for (n = 1; n <= 10 && n <= tests; n++) printf "%8.1f %s\n", took[n], name[n]
	if (unexpected != "") {
		print "skipped, and not allowed to be:" unexpected
		if (ci == "true") exit 1
	}
}

# slow keeps the tests in order, the slowest first.
function slow(test, time,   n) {
	gsub(/[(s)]/, "", time)
	for (n = tests++; n > 0 && took[n] < time + 0; n--) { took[n + 1] = took[n]; name[n + 1] = name[n] }
	took[n + 1] = time + 0
	name[n + 1] = test
}

function restart() {
	lines = ""
	split("", allowed)
}
