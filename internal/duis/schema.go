package duis

// node is a place in a message that means something to quell. Elements count
// only where the schema has them, and there only once.
type node uint8

const (
	ignored node = iota
	document
	request
	requestHeader
	requestBody
	activateFirmware
	signedPreCommand
	response
	responseHeader
	responseBody
	responseMessage
	futureDatedAlert
	deviceAlert
	dccAlertMessage
	dccAlert
	powerOutageEvent
	commandFailure
	signature // of XML signatures; nothing in it is read

	// Leaves, whose text is the value.
	requestID
	firstInSequence
	precedingID
	responseID
	commandVariant
	serviceReference
	serviceReferenceVariant
	responseCode
	responseDateTime
	executionDateTime
	firmwareHash
	gbcsPayload
	dccAlertCode
	deviceAlertCode
	throttledSequenceID
	throttledCount
	commsHubDeviceID
	startDateTime
	mpxn
	commandRequestID
	nodes

	leaf = requestID // the first leaf
)

// A content is what the schema has within an element: a sequence of elements,
// each of them once at most, or one of them.
type content struct {
	choice   bool
	open     bool // elements of DUIS that quell does not know are tolerated
	elements []part
}

type part struct {
	name string
	node node
}

// contents has each node that is no leaf. All elements are of the DUIS
// namespace, the signature apart.
//
// Of a message that quell decides on, everything has to be as the schema has
// it: see reader.flaw. What is open is where earlier versions of DUIS have
// grown, or is a choice of which quell knows only a part: a later version may
// have an element there that quell does not know, and the rest still means what
// it means. That is so in the headers, in DCCAlertMessage, PowerOutageEvent and
// the two bodies of an 11.3, and not around these, nor beside the choice of a
// DCCAlert, where something else would be said.
var contents = [leaf]content{
	document: {choice: true, open: true, elements: []part{{"Request", request}, {"Response", response}}},

	request: {elements: []part{{"Header", requestHeader}, {"Body", requestBody}, {"Signature", signature}}},
	requestHeader: {open: true, elements: []part{
		{"RequestID", requestID},
		{"FirstInSequence", firstInSequence},
		{"PrecedingServiceRequestID", precedingID},
		{"CommandVariant", commandVariant},
		{"ServiceReference", serviceReference},
		{"ServiceReferenceVariant", serviceReferenceVariant},
	}},
	requestBody: {choice: true, open: true, elements: []part{
		{"ActivateFirmware", activateFirmware},
		{"SignedPreCommand", signedPreCommand},
	}},
	activateFirmware: {open: true, elements: []part{{"ExecutionDateTime", executionDateTime}, {"FirmwareHash", firmwareHash}}},
	signedPreCommand: {open: true, elements: []part{{"ExecutionDateTime", executionDateTime}, {"GBCSPayload", gbcsPayload}}},

	response: {elements: []part{{"Header", responseHeader}, {"Body", responseBody}, {"Signature", signature}}},
	responseHeader: {open: true, elements: []part{
		{"RequestID", requestID},
		{"ResponseID", responseID},
		{"ResponseCode", responseCode},
		{"ResponseDateTime", responseDateTime},
	}},
	responseBody: {choice: true, open: true, elements: []part{
		{"DCCAlertMessage", dccAlertMessage},
		{"DeviceAlertMessage", deviceAlert},
		{"ResponseMessage", responseMessage},
	}},
	responseMessage: {open: true, elements: []part{
		{"ServiceReferenceVariant", serviceReferenceVariant},
		{"FutureDatedDeviceAlertMessage", futureDatedAlert},
		{"GBCSPayload", gbcsPayload},
	}},
	futureDatedAlert: {open: true, elements: []part{{"FutureDatedAlertCode", deviceAlertCode}, {"GBCSPayload", gbcsPayload}}},
	deviceAlert:      {open: true, elements: []part{{"AlertCode", deviceAlertCode}}},
	dccAlertMessage: {open: true, elements: []part{
		{"DCCAlertCode", dccAlertCode},
		{"ThrottledAlertSequenceId", throttledSequenceID},
		{"ThrottledAlertCount", throttledCount},
		{"DCCAlert", dccAlert},
	}},
	dccAlert:       {choice: true, open: true, elements: []part{{"PowerOutageEvent", powerOutageEvent}, {"CommandFailure", commandFailure}}},
	commandFailure: {open: true, elements: []part{{"CommandRequestID", commandRequestID}}},
	powerOutageEvent: {open: true, elements: []part{
		{"CommsHubDeviceID", commsHubDeviceID},
		{"StartDateTime", startDateTime},
		{"MPxN", mpxn},
	}},
}

// find returns the node of the element called name, and its place, counted from
// 1; ignored and 0 if there is none. It is found soonest behind the place last.
func (c *content) find(name []byte, last uint8) (node, uint8) {
	for i := int(last); i < len(c.elements); i++ {
		if e := &c.elements[i]; e.name == string(name) {
			return e.node, uint8(i + 1)
		}
	}
	for i := range int(last) {
		if e := &c.elements[i]; e.name == string(name) {
			return e.node, uint8(i + 1)
		}
	}
	return ignored, 0
}

// String gives the name of n's element.
func (n node) String() string {
	for _, c := range contents {
		for _, e := range c.elements {
			if e.node == n {
				return e.name
			}
		}
	}
	return ""
}
