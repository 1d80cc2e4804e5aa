// Package release delivers suppressed alerts late, because somebody asked for it: the message as it
// came (package held), to the northbound next hop.
//
// # The states of a release
//
//   - asked: it is to be sent when it is due. The message is in the row, so housekeeping of package
//     held cannot take it away.
//   - sending: a node has it. The row names the claim, which is one try of one process.
//   - released: the next hop has answered with success. In the same transaction the entry in the
//     log gets the outcome released, as a correction, and a note that the alert went forward: a
//     retry of it is forwarded.
//   - failed: the next hop refused it (a status of 4xx), or the alert was delivered meanwhile, since
//     its sender sent it again and it was forwarded. It may be asked for again.
//
// While the next hop is away, or answers that it cannot take messages now, a release stays asked,
// and is tried again after a pause that grows to a minute. A pause that would be longer than an hour
// began while the clock was ahead, and is over.
//
// # Once
//
// Only the leader sends. It claims a release in a transaction, and only then sends it. A claim
// whose try was interrupted counts as in doubt: nobody can know whether the alert arrived. It is
// sent again, since in doubt an alert goes forward; receivers of alerts know repetitions, which
// the motorway makes too. A claim is in doubt
//
//   - at once, if it is by an earlier process, and no other node can be at work (SQLite);
//   - when it is older than claimTime, which is longer than a try may take.
//
// The same is true if the next hop has got the message, and its answer does not come. In all other
// cases the alert is delivered once: if quell dies before the claim or after the commit, if two
// ask at once, and if two nodes try at once.
package release
