// Package xmldsig verifies the XML signatures of DUIS messages, and makes them for tests.
//
// # The form of a signature
//
// DUIS signs a message as a whole, with one Signature that is the last child of the root. It
// allows any signature that the XML Signature schema allows. All that were seen, from the DCC's
// test tool and its test product, have one form, and Verify accepts no other:
//   - CanonicalizationMethod is Exclusive Canonical XML without a PrefixList;
//   - SignatureMethod is ecdsa-sha256 on P-256: r and s of 32 bytes each, in base64;
//   - there is one Reference, with URI="" and the one transform enveloped-signature. So the
//     digest, SHA-256, is over Canonical XML 1.0 of the document without its Signature;
//   - KeyInfo has issuer and serial number of the signer's certificate, and nothing else;
//   - there are no other attributes, not even an Id.
//
// No element of the XML Signature namespace may be anywhere else. So a signature that was moved,
// doubled or wrapped, or is over a part, is invalid: there is nothing to choose, no id to
// resolve, and no transform to run.
//
// # What was verified is what is read
//
// Canonical forms are made from the events of package strictxml, which package duis reads with
// too. There is no tree, and no second parser that might understand a document in another
// way. Comments are not in the canonical form, and strictxml joins the text around them.
//
// # White space between elements
//
// The DCC's tool, which is in Java, reads with the schema. It removes white space where the
// schema has only elements, before it signs and before it verifies. So a message that it accepts
// may have been indented after it was signed. The document's digest may fit the document as it
// is or without that white space, and the signature may fit SignedInfo in either form.
//
// Without a schema, white space is between elements if it is in an element that has a child
// element and no text but white space. It may be written as references or CDATA. Everything
// else stays: the text of an element without children, even if it is blank, and white space in
// an element that has other text too. What goes has no meaning: duis reads only the text of
// elements without children.
//
// The tool also removes white space around a value, where the type in the schema says that it
// does not matter. quell does not know the types: if white space was added there after the
// message was signed, the signature is invalid.
package xmldsig
