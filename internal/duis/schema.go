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

	// Leaves, whose text is the value.
	requestID
	responseID
	commandVariant
	serviceReferenceVariant
	responseCode
	responseDateTime
	executionDateTime
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

// children holds, for each node, the elements within it that are nodes too. All
// are of the DUIS namespace.
var children = [nodes][]struct {
	name string
	node node
}{
	document: {{"Request", request}, {"Response", response}},

	request: {{"Header", requestHeader}, {"Body", requestBody}},
	requestHeader: {
		{"RequestID", requestID},
		{"CommandVariant", commandVariant},
		{"ServiceReferenceVariant", serviceReferenceVariant},
	},
	requestBody:      {{"ActivateFirmware", activateFirmware}, {"SignedPreCommand", signedPreCommand}},
	activateFirmware: {{"ExecutionDateTime", executionDateTime}},
	signedPreCommand: {{"ExecutionDateTime", executionDateTime}, {"GBCSPayload", gbcsPayload}},

	response: {{"Header", responseHeader}, {"Body", responseBody}},
	responseHeader: {
		{"RequestID", requestID},
		{"ResponseID", responseID},
		{"ResponseCode", responseCode},
		{"ResponseDateTime", responseDateTime},
	},
	responseBody: {
		{"DCCAlertMessage", dccAlertMessage},
		{"DeviceAlertMessage", deviceAlert},
		{"ResponseMessage", responseMessage},
	},
	responseMessage: {
		{"ServiceReferenceVariant", serviceReferenceVariant},
		{"FutureDatedDeviceAlertMessage", futureDatedAlert},
		{"GBCSPayload", gbcsPayload},
	},
	futureDatedAlert: {{"FutureDatedAlertCode", deviceAlertCode}, {"GBCSPayload", gbcsPayload}},
	deviceAlert:      {{"AlertCode", deviceAlertCode}},
	dccAlertMessage: {
		{"DCCAlertCode", dccAlertCode},
		{"ThrottledAlertSequenceId", throttledSequenceID},
		{"ThrottledAlertCount", throttledCount},
		{"DCCAlert", dccAlert},
	},
	dccAlert:       {{"PowerOutageEvent", powerOutageEvent}, {"CommandFailure", commandFailure}},
	commandFailure: {{"CommandRequestID", commandRequestID}},
	powerOutageEvent: {
		{"CommsHubDeviceID", commsHubDeviceID},
		{"StartDateTime", startDateTime},
		{"MPxN", mpxn},
	},
}

// child returns the node of the element name of the DUIS namespace within n.
func (n node) child(name []byte) node {
	for i := range children[n] {
		if c := &children[n][i]; c.name == string(name) {
			return c.node
		}
	}
	return ignored
}

// String gives the name of n's element.
func (n node) String() string {
	for _, c := range children {
		for _, e := range c {
			if e.node == n {
				return e.name
			}
		}
	}
	return ""
}
