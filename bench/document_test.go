package main

import "testing"

func TestDocument(t *testing.T) {
	d := &document{text: "before\n<!-- bench:aims -->\n" + aimsHead + "| 2 | x | – | y | z | yes |\n| 9 | old | – | y | z | yes |\n<!-- /bench:aims -->\n" +
		"<!-- bench:sizes -->\nold\nlines\n<!-- /bench:sizes -->\nafter\n"}
	d.set("sizes", "new\n")
	d.set("missing", "nowhere")
	d.aim(aim{"9", "new", "–", "y", "1.6", false})
	d.aim(aim{"1", "first", "–", "y", "z", true})
	want := "before\n<!-- bench:aims -->\n" + aimsHead + "| 1 | first | – | y | z | yes |\n| 2 | x | – | y | z | yes |\n| 9 | new | – | y | 1.6 | **no** |\n<!-- /bench:aims -->\n" +
		"<!-- bench:sizes -->\nnew\n<!-- /bench:sizes -->\nafter\n"
	if d.text != want {
		t.Errorf("got\n%s\nwant\n%s", d.text, want)
	}
	// What another run measured is not shown as if this one had.
	aims, err := d.aims()
	if want := aimsHead + "| 1 | first | – | y | z | yes |\n| 9 | new | – | y | 1.6 | **no** |\n"; err != nil || aims != want {
		t.Errorf("got\n%s\nwant\n%s", aims, want)
	}
}
