# Reads what "go test -v ./..." prints, and prints of it the closing line of
# each package, all skips, and everything of a package that failed but the
# noise of -v. With ci=true it fails on a skip whose test does not say
# "skip allowed:".

/^=== (RUN|PAUSE|CONT|NAME) / { test = $3; next }
/skip allowed:/               { allowed[test] = 1 }
/^ *--- PASS: /               { next }
/^ *--- SKIP: / {
	test = $3
	skipped = skipped "\n    " test
	if (!(test in allowed)) unexpected = unexpected "\n    " test
}
/^(ok  |\?   )\t/ { # the package is through: forget what it printed
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
	if (unexpected != "") {
		print "skipped, and not allowed to be:" unexpected
		if (ci == "true") exit 1
	}
}

function restart() {
	lines = ""
	split("", allowed)
}
