package assess_test

import (
	"testing"

	"quell/internal/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }
