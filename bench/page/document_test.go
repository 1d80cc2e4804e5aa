package page

import "testing"

func TestDocument(t *testing.T) {
	d := &Document{text: "before\n<!-- bench:aims -->\n" + aimsHead + "| 2 | x | – | y | z | yes |\n| 9 | old | – | y | z | yes |\n<!-- /bench:aims -->\n" +
		"<!-- bench:sizes -->\nold\nlines\n<!-- /bench:sizes -->\nafter\n"}
	d.Set("sizes", "new\n")
	d.Set("missing", "nowhere")
	d.Aim("9", "new", "–", "y", "1.6", false)
	d.Aim("1", "first", "–", "y", "z", true)
	want := "before\n<!-- bench:aims -->\n" + aimsHead + "| 1 | first | – | y | z | yes |\n| 2 | x | – | y | z | yes |\n| 9 | new | – | y | 1.6 | **no** |\n<!-- /bench:aims -->\n" +
		"<!-- bench:sizes -->\nnew\n<!-- /bench:sizes -->\nafter\n"
	if d.text != want {
		t.Errorf("got\n%s\nwant\n%s", d.text, want)
	}
	// What another run measured is not shown as if this one had.
	aims := d.Aims()
	if want := aimsHead + "| 1 | first | – | y | z | yes |\n| 9 | new | – | y | 1.6 | **no** |\n"; aims != want {
		t.Errorf("got\n%s\nwant\n%s", aims, want)
	}
}
