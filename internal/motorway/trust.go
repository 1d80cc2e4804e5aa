package motorway

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"quell/internal/outage"
	"quell/internal/recording"
	"quell/internal/smki"
	"quell/internal/xmldsig"
)

// trust reports whether an 11.3 may have any effect, as far as its sender goes. If it may, the
// reason says why it may only close; it is "" if it may also open a window. If it was signed by
// its originator, trust sets req.Verified.
//
// An 11.3 that is provably not what it says it is has no effect. If that is only not known,
// it may close: then an alert goes forward that need not have.
func (m *Motorway) trust(p *Passage, document []byte, req *outage.Request, rules *Rules) (trusted bool, reason outage.Reason) {
	if p.Decision.Reason == "" { // what could not be read cannot be verified
		signer, why, forged := m.verify(p, rules.SouthSignatures, document, p.Received)
		if signer != 0 && signer != req.ID.Originator {
			why, forged = outage.ReasonSignerMismatch, true
		}
		if forged {
			m.Log.Warn("an 11.3 is not by the originator that it names, it has no effect", "request", req.ID, "reason", why, "signer", signer)
			return false, why
		}
		reason, req.Verified = why, signer != 0
	}
	if len(rules.Suppliers) > 0 && !slices.Contains(rules.Suppliers, req.ID.Originator) {
		return false, outage.ReasonNotASupplier
	}
	if reason != "" {
		return true, reason // not counted: anyone could use up the number of another originator
	}
	if over, first := m.senders.Count(req.ID.Originator, p.Received, rules.MaxPerHour); over {
		if first {
			m.Log.Error("an originator has sent too many 11.3s within an hour, no more of them are tracked", "originator", req.ID.Originator, "most", rules.MaxPerHour)
		}
		return true, outage.ReasonTooManyRequests
	}
	return true, ""
}

// SetCertificates sets the certificates of those who sign messages; nil if there are none.
func (m *Motorway) SetCertificates(c *smki.Certificates) { m.certificates.Store(c) }

// Signers returns how many certificates of signers there are.
func (m *Motorway) Signers() int {
	if c := m.certificates.Load(); c != nil {
		return c.Len()
	}
	return 0
}

// verify returns who signed a message; 0 if it is not signed, or if signatures are off. The
// reason says why the message cannot be believed; "" if it can, as far as mode demands. forged
// says that this is proven: the message was changed, or another key signed it.
func (m *Motorway) verify(p *Passage, mode outage.Signatures, document []byte, at time.Time) (signer outage.DeviceID, reason outage.Reason, forged bool) {
	if m.Recorded != nil {
		_, s := m.Recorded()
		return s.Signer, s.Reason, s.Forged
	}
	defer func() { p.signature = recording.Signature{Signer: signer, Reason: reason, Forged: forged} }()
	if mode == outage.SignaturesOff || mode == "" {
		return 0, "", false
	}
	result := "verified"
	by, err := xmldsig.Verify(document, m.certificates.Load(), at)
	switch {
	case err == nil:
		signer = by.Organisation
	case errors.Is(err, xmldsig.ErrMissing):
		result = string(outage.ReasonSignatureMissing)
		if mode == outage.SignaturesRequire {
			reason = outage.ReasonSignatureMissing
		}
	case errors.Is(err, xmldsig.ErrSignerUnknown):
		result, reason = string(outage.ReasonSignerUnknown), outage.ReasonSignerUnknown
	default:
		result, reason = string(outage.ReasonSignatureInvalid), outage.ReasonSignatureInvalid
	}
	m.Metrics.Signatures.WithLabelValues(string(p.Direction), result).Inc()
	if reason != "" {
		m.Log.Warn("a message is not signed as it must be", "direction", p.Direction, "reason", reason, "error", err)
	}
	return signer, reason, errors.Is(err, xmldsig.ErrForged)
}

// Conditions says what is wrong with the senders of messages; nil if nothing is.
func (m *Motorway) Conditions() (list []string) {
	for _, id := range m.senders.TooMany(m.Now()) {
		list = append(list, fmt.Sprintf("originator %s has sent more than %d 11.3s within an hour: no more of them are tracked (max_activations_per_hour)", id, m.Rules().MaxPerHour))
	}
	return list
}
