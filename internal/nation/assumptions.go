// Package nation makes up nights: homes, the network that supplies them, firmware campaigns,
// and power cuts. It knows which alerts are genuine, so it can measure how well package
// evidence tells. It does no I/O and reads no clock: the same seed gives the same night.
//
// All its assumptions are in this file. None comes from real alerts, which are not public. What
// is known of Britain is said where it was used; the rest is invented, and varied from night to
// night or from world to world, so that no result depends on one value.
package nation

// A span is a range in which a value is drawn, evenly.
type span struct{ from, to float64 }

// Homes and how they are supplied. Homes are in a row, and numbered along it. Postcodes, and
// the sections of the network, are runs of that row, but their borders do not fall together.
var (
	// Britain has some 29 million homes, 1.8 million postcodes and 11,000 sectors.
	homesPerPostcode = span{6, 28}
	homesPerSector   = span{1_800, 3_400}
	// A distributor has one to four million homes. In a smaller world it has all there are.
	homesPerDistributor = 2_000_000.0

	homesPerStreet      = span{15, 60}    // one low-voltage main
	homesPerTransformer = span{40, 250}   // its mains
	homesPerFeeder      = span{500, 2000} // at 11 kV

	// Homes are on one of three phases, in turn along the street. A part of the faults of a
	// street takes one phase only: then every third home is off.
	onePhase = .4
)

// Models, and what their meters do when they activate firmware. A world has listed models and
// others. Each value is drawn once for each model of a world.
const (
	listedModels  = 4
	otherModels   = 3
	shareOfListed = .5 // of the homes
)

var (
	rebootShare = span{.6, .95}   // of activations, with a reboot that takes the hub's power for over three minutes
	rebootAt    = span{40, 240}   // its median, in seconds after the activation
	rebootWidth = span{.15, .5}   // sigma of its logarithm
	rebootStray = span{.005, .03} // the share that comes at any time within half an hour instead
	rebootLasts = span{190, 420}  // its median; never under three minutes, or there is no AD1
	lastsWidth  = span{.05, .25}
	heardAgain  = span{.6, .97} // of rebooted homes, the share that sends something soon after
	heardAfter  = span{30, 400} // seconds after the hub is back

	// A5 says that no restoration alert follows a reboot. Even where it holds it is broken by
	// so many: meters that lose supply by chance while somebody works at them, and the like.
	violations = span{0, 2e-5}
	// Of the restoration alerts after reboots, so many have a time that is wrong by an hour.
	violationWrong = .003
)

// Campaigns. Each night has one, between 22:00 and 06:00.
var (
	nightHours    = 8.0
	campaignShare = span{.1, .6} // of the homes that can be in it
	futureDated   = span{.1, .7} // the others are on demand
	byArea        = .5           // of the nights: the supplier goes from place to place, else by chance
)

const (
	orderedAgain  = .01 // the 11.3 is sent again some minutes later
	notRunShare   = .02 // the meter says that it did not run, within half a minute to two minutes
	onlyRequested = .002
)

// Power cuts. An average customer in Britain is cut off about once in two years, for over three
// minutes. Three of four of these come from a fault at high voltage.
const (
	cutsPerYear = .5

	isolatedShare    = .02 // of the customers cut off: the service cable or cut-out of one home
	streetShare      = .13
	transformerShare = .10
	feederShare      = .75

	// In fair weather genuine alerts are so rare that fifty nights have hardly any. So faults
	// are made more frequent by this factor, and whatever comes of a fault is counted by its
	// inverse: genuine alerts, and false ones whose sector has a fault within 15 minutes.
	moreFaults = 10
)

var (
	// In a storm, so many of all homes are cut off in one night.
	stormCuts = span{.005, .08}
	// Faults at low voltage are more frequent then too, but trees bring down feeders.
	stormAgain = .15 // of the faults, with a second cut some minutes after the first

	shortCut    = span{180, 1200} // seconds; restored by switching
	shortShare  = .3              // of faults of feeders; of others .1
	longMedian  = span{2400, 9000}
	longWidth   = .7
	reported    = span{.7, .92} // of the hubs cut off, the share whose AD1 arrives
	restoredBy  = span{.8, .95} // of the meters cut off, the share whose restoration alert arrives
	restoredLag = span{20, 600} // seconds after supply is back; a storm adds to it
	hubSwaps    = .05           // hubs unplugged by somebody, for each home and year
)

// Messages and clocks.
const (
	alertAfter   = 180 // seconds without power: then the hub sends its AD1
	usualLag     = 12  // seconds until it arrives, the median
	lagWidth     = .6
	slowShare    = .005 // of alerts, that come up to an hour late; in a storm .05
	slowInStorm  = .05
	clockSigma   = 2.5  // seconds, of hubs and meters
	clockWrong   = .004 // of hubs, wrong by up to a day
	twoUsers     = .3   // of AD1s, told to two users
	retried      = .02  // of AD1s, sent again
	chatterHours = 6    // homes send something else about so often
)
