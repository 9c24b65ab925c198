# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbered statements of both standards (OASIS, appendix B), in a few words of our own.

A line: number, what it asks, and behind a "|" why no case has to show it: "client" where it binds
clients alone, or the reason for which bytes cannot show it. The others each need a case."""

import flaws

V5 = """
1.5.4-1   strings are UTF-8, without surrogates
1.5.4-2   no U+0000 in strings
1.5.4-3   a byte order mark is a character like others
1.5.5-1   integers take no more bytes than they need
1.5.7-1   both strings of a pair are UTF-8
2.1.3-1   reserved flag bits have their value
2.2.1-2   no packet id with QoS 0
2.2.1-3   a client's packet ids are not 0 and unused
2.2.1-4   a server's packet ids are not 0 and unused
2.2.1-5   acknowledgements have the PUBLISH's packet id
2.2.1-6   SUBACK and UNSUBACK have the request's packet id
2.2.2-1   no properties: a length of 0
3.1.0-1   CONNECT comes first
3.1.0-2   a second CONNECT is a protocol error
3.1.2-1   another protocol name ends the connection
3.1.2-2   another protocol version ends the connection
3.1.2-3   CONNECT's reserved flag is 0
3.1.2-4   clean start ends the session that was
3.1.2-5   without clean start the session goes on
3.1.2-6   without clean start and session there is a new one
3.1.2-7   a will is kept with the session
3.1.2-8   a will is published when the connection closes and its delay is over
3.1.2-9   a will's fields are in the payload
3.1.2-10  a will is gone once published or after DISCONNECT 0x00
3.1.2-11  no will: will QoS 0
3.1.2-12  will QoS is 0, 1 or 2
3.1.2-13  no will: no will retain
3.1.2-14  will retain 0: not retained
3.1.2-15  will retain 1: retained
3.1.2-16  no user name flag: no user name
3.1.2-17  user name flag: a user name
3.1.2-18  no password flag: no password
3.1.2-19  password flag: a password
3.1.2-20  PINGREQ when there is nothing else to send | client
3.1.2-21  the server's keep-alive is used | client
3.1.2-22  silence for one and a half keep-alives ends the connection
3.1.2-23  the session outlives the connection while its expiry says so
3.1.2-24  nothing larger than the client's maximum packet size
3.1.2-25  what is too large counts as sent
3.1.2-26  no topic alias above the client's maximum
3.1.2-27  no topic alias where the client named no maximum
3.1.2-28  no response information that was not asked for
3.1.2-29  no reason strings and user properties where they are not wanted
3.1.2-30  with an authentication method only AUTH and DISCONNECT before CONNACK | client
3.1.3-1   the order of CONNECT's payload
3.1.3-2   the client id names the state
3.1.3-3   the client id is there and first
3.1.3-4   the client id is UTF-8
3.1.3-5   client ids of 1 to 23 letters and digits are allowed
3.1.3-6   an empty client id gets one of the server's
3.1.3-7   the assigned one is told
3.1.3-8   a client id that is refused ends the connection
3.1.3-9   no will where the client is back before its delay is over
3.1.3-10  the order of a will's user properties
3.1.3-11  the will topic is UTF-8
3.1.3-12  the user name is UTF-8
3.1.4-1   a CONNECT that is none ends the connection
3.1.4-2   a CONNECT that fails further checks ends the connection
3.1.4-3   a client id that is connected already: 0x8e and the end for the first
3.1.4-4   clean start is processed
3.1.4-5   CONNACK 0x00 acknowledges
3.1.4-6   after a CONNECT that was refused nothing is processed
3.2.0-1   CONNACK 0x00 before any other packet
3.2.0-2   one CONNACK
3.2.2-1   CONNACK's reserved flags are 0
3.2.2-2   clean start: session present 0
3.2.2-3   session present tells whether there is one
3.2.2-4   a session that the client does not know ends the connection | client
3.2.2-5   a session that the server does not have is discarded | client
3.2.2-6   a refusal: session present 0
3.2.2-7   a refusal is followed by the end
3.2.2-8   CONNACK's reason codes
3.2.2-9   a server without QoS 1 or 2 says so
3.2.2-10  it takes subscriptions of any QoS all the same
3.2.2-11  no PUBLISH above the maximum QoS | client
3.2.2-12  a will above the maximum QoS ends the connection
3.2.2-13  a retained will where there is no retaining ends the connection
3.2.2-14  no retain where it is not available | client
3.2.2-15  no packet larger than the server's maximum
3.2.2-16  an assigned client id is new
3.2.2-17  no topic alias above the server's maximum
3.2.2-18  no topic alias where the server named no maximum | client
3.2.2-19  no reason string that makes CONNACK too large
3.2.2-20  no user property that makes CONNACK too large
3.2.2-21  the server's keep-alive is used | client
3.2.2-22  without one the client's is
3.3.1-1   DUP when it is sent again
3.3.1-2   no DUP with QoS 0
3.3.1-3   DUP is not carried over to subscribers
3.3.1-4   no QoS 3
3.3.1-5   a retained message replaces the one before
3.3.1-6   an empty one takes it away
3.3.1-7   an empty one is not stored
3.3.1-8   without retain nothing is stored, replaced or taken away
3.3.1-9   retain handling 0: they are sent
3.3.1-10  retain handling 1: they are sent where the subscription is new
3.3.1-11  retain handling 2: they are not sent
3.3.1-12  retain as published 0: forwarded without the flag
3.3.1-13  retain as published 1: forwarded with it
3.3.2-1   the topic comes first and is UTF-8
3.3.2-2   no wildcards in a topic name
3.3.2-3   what comes matches the filter
3.3.2-4   the payload format is handed on
3.3.2-5   a message that expired is not delivered
3.3.2-6   the expiry that is left is told
3.3.2-7   topic aliases end with the connection
3.3.2-8   no topic alias 0
3.3.2-9   no topic alias above the server's maximum
3.3.2-10  all aliases up to its own maximum are taken | client
3.3.2-11  no topic alias above the client's maximum
3.3.2-12  all aliases up to the announced maximum are taken
3.3.2-13  the response topic is UTF-8
3.3.2-14  no wildcards in a response topic
3.3.2-15  the response topic is handed on
3.3.2-16  the correlation data is handed on
3.3.2-17  user properties are handed on
3.3.2-18  in their order
3.3.2-19  the content type is UTF-8
3.3.2-20  the content type is handed on
3.3.4-1   the answer to a PUBLISH is what its QoS asks for
3.3.4-2   overlapping subscriptions: the highest QoS of them
3.3.4-3   and their identifiers
3.3.4-4   in one copy: all of them
3.3.4-5   in several copies: in each its own
3.3.4-6   no subscription identifier from a client
3.3.4-7   no more than the receive maximum from a client
3.3.4-8   a client's other packets do not wait | client
3.3.4-9   no more than the receive maximum from the server
3.3.4-10  the server's other packets do not wait
3.4.2-1   PUBACK's reason codes
3.4.2-2   no reason string that makes PUBACK too large
3.4.2-3   no user property that makes PUBACK too large
3.5.2-1   PUBREC's reason codes
3.5.2-2   no reason string that makes PUBREC too large
3.5.2-3   no user property that makes PUBREC too large
3.6.1-1   PUBREL's reserved flags
3.6.2-1   PUBREL's reason codes
3.6.2-2   no reason string that makes PUBREL too large
3.6.2-3   no user property that makes PUBREL too large
3.7.2-1   PUBCOMP's reason codes
3.7.2-2   no reason string that makes PUBCOMP too large
3.7.2-3   no user property that makes PUBCOMP too large
3.8.1-1   SUBSCRIBE's reserved flags
3.8.3-1   topic filters are UTF-8
3.8.3-2   SUBSCRIBE has a filter
3.8.3-3   no local: not to the publisher itself
3.8.3-4   no local with a shared subscription is a protocol error
3.8.3-5   reserved bits of the options are 0
3.8.4-1   SUBSCRIBE is answered with SUBACK
3.8.4-2   SUBACK has its packet id
3.8.4-3   the same filter again replaces the subscription
3.8.4-4   then retained messages come again, and none is lost
3.8.4-5   several filters are as several SUBSCRIBEs
3.8.4-6   a reason code for each filter
3.8.4-7   it is the QoS granted, or a failure
3.8.4-8   delivery has the lower of both QoS
3.9.2-1   no reason string that makes SUBACK too large
3.9.2-2   no user property that makes SUBACK too large
3.9.3-1   SUBACK's codes are in the filters' order
3.9.3-2   SUBACK's reason codes
3.10.1-1  UNSUBSCRIBE's reserved flags
3.10.3-1  its filters are UTF-8
3.10.3-2  UNSUBSCRIBE has a filter
3.10.4-1  filters are compared character by character
3.10.4-2  nothing new comes afterwards
3.10.4-3  what is on its way is completed
3.10.4-4  UNSUBSCRIBE is answered with UNSUBACK
3.10.4-5  with its packet id, even where nothing was subscribed
3.10.4-6  several filters are as several UNSUBSCRIBEs
3.11.2-1  no reason string that makes UNSUBACK too large
3.11.2-2  no user property that makes UNSUBACK too large
3.11.3-1  UNSUBACK's codes are in the filters' order
3.11.3-2  UNSUBACK's reason codes
3.12.4-1  PINGREQ is answered
3.14.0-1  no DISCONNECT before CONNACK
3.14.1-1  DISCONNECT's reserved flags
3.14.2-1  DISCONNECT's reason codes
3.14.2-2  no session expiry in the server's DISCONNECT
3.14.2-3  no reason string that makes DISCONNECT too large
3.14.2-4  no user property that makes DISCONNECT too large
3.14.4-1  nothing after DISCONNECT
3.14.4-2  the end after DISCONNECT
3.14.4-3  DISCONNECT 0x00 discards the will
3.15.1-1  AUTH's reserved flags
3.15.2-1  AUTH's reason codes | no method is offered: the server never sends AUTH
3.15.2-2  no reason string that makes AUTH too large | no method is offered: the server never sends AUTH
3.15.2-3  no user property that makes AUTH too large | no method is offered: the server never sends AUTH
4.1.0-1   the session is kept while the connection is open
4.1.0-2   and discarded when its expiry has passed
4.2.0-1   a transport that is an ordered stream
4.3.1-1   QoS 0 is sent without DUP
4.3.2-1   QoS 1: an unused packet id
4.3.2-2   QoS 1: first without DUP
4.3.2-3   QoS 1: unacknowledged up to PUBACK
4.3.2-4   QoS 1: PUBACK with that packet id
4.3.2-5   QoS 1: after PUBACK the packet id is a new message
4.3.3-1   QoS 2: an unused packet id
4.3.3-2   QoS 2: first without DUP
4.3.3-3   QoS 2: unacknowledged up to PUBREC
4.3.3-4   QoS 2: PUBREL after PUBREC
4.3.3-5   QoS 2: PUBREL unacknowledged up to PUBCOMP
4.3.3-6   QoS 2: after PUBREL no PUBLISH again
4.3.3-7   QoS 2: no expiry once it was sent
4.3.3-8   QoS 2: PUBREC with that packet id
4.3.3-9   QoS 2: after a PUBREC that refuses, the packet id is a new message
4.3.3-10  QoS 2: the same packet id before PUBREL: PUBREC, and no second delivery
4.3.3-11  QoS 2: PUBREL is answered with PUBCOMP
4.3.3-12  QoS 2: after PUBCOMP the packet id is a new message
4.3.3-13  QoS 2: the sequence is completed for a message that expired
4.4.0-1   what is unacknowledged is sent again when the client is back, and at no other time
4.4.0-2   a PUBACK or PUBREC that refuses is an acknowledgement
4.5.0-1   a message is added to the sessions that subscribed
4.5.0-2   the client acknowledges what it gets | client
4.6.0-1   a client sends again in the first order | client
4.6.0-2   a client's PUBACKs are in order | client
4.6.0-3   a client's PUBRECs are in order | client
4.6.0-4   a client's PUBRELs are in order | client
4.6.0-5   an ordered topic is delivered in order
4.6.0-6   each topic is an ordered one
4.7.0-1   wildcards in filters, not in topic names
4.7.1-1   # alone or after /, and last
4.7.1-2   + takes a whole level
4.7.2-1   a wildcard at the beginning does not match $
4.7.3-1   topics and filters have at least one character
4.7.3-2   and no U+0000
4.7.3-3   and at most 65,535 bytes
4.7.3-4   nothing is normalized when they are compared
4.8.2-1   $share/ and a name of at least one character
4.8.2-2   the name has no / + #, and a filter follows
4.8.2-3   shared: the QoS granted to that client
4.8.2-4   shared: a QoS 2 delivery is completed when that client is back
4.8.2-5   shared: and goes to no other where its session ends
4.8.2-6   shared: what a client refuses goes to no other
4.9.0-1   the send quota begins with the receive maximum or less
4.9.0-2   at 0 no PUBLISH with QoS > 0
4.9.0-3   other packets go on at 0
4.12.0-1  an authentication method that is not supported ends the connection
4.12.0-2  AUTH 0x18 goes on with it | no method is offered: the server never sends AUTH
4.12.0-3  the client's AUTH 0x18 goes on with it | client
4.12.0-4  an authentication that fails ends the connection
4.12.0-5  the method is the same in each packet | no method is offered: no CONNACK takes one
4.12.0-6  without a method no AUTH and no method in CONNACK
4.12.0-7  without a method no AUTH from the client
4.12.1-1  re-authentication uses the same method | client
4.12.1-2  a re-authentication that fails ends the connection | no method is offered: there is none to repeat
4.13.1-1  a malformed packet or protocol error ends the connection
4.13.2-1  a reason code of 0x80 or more ends the connection
6.0.0-1   WebSocket: binary frames | there is no WebSocket door
6.0.0-2   WebSocket: packets and frames are not aligned | there is no WebSocket door
6.0.0-3   WebSocket: the client offers "mqtt" | client
6.0.0-4   WebSocket: the server selects "mqtt" | there is no WebSocket door
"""

V311 = """
1.5.3-1   ill-formed UTF-8 ends the connection
1.5.3-2   U+0000 ends the connection
1.5.3-3   a byte order mark is a character like others
2.2.2-1   reserved flag bits have their value
2.2.2-2   other flags end the connection
2.3.1-1   packet ids are not 0
2.3.1-2   a client's new packet has an unused packet id | client
2.3.1-3   what a client sends again has the same packet id | client
2.3.1-4   the same is true of a server
2.3.1-5   no packet id with QoS 0
2.3.1-6   acknowledgements have the PUBLISH's packet id
2.3.1-7   SUBACK and UNSUBACK have the request's packet id
3.1.0-1   CONNECT comes first
3.1.0-2   a second CONNECT ends the connection
3.1.2-1   another protocol name is not taken as this protocol
3.1.2-2   another protocol level: 0x01 and the end
3.1.2-3   CONNECT's reserved flag is 0
3.1.2-4   clean session 0: the session goes on, or there is a new one, and it is kept
3.1.2-5   messages of QoS 1 and 2 are kept for it
3.1.2-6   clean session 1: a new session, as long as the connection
3.1.2-7   retained messages outlive the session
3.1.2-8   a will is kept and published when the connection closes without DISCONNECT
3.1.2-9   a will's fields are in the payload
3.1.2-10  a will is gone once published or after DISCONNECT
3.1.2-11  no will: will QoS and retain 0, no fields
3.1.2-12  no will: none is published
3.1.2-13  no will: will QoS 0
3.1.2-14  will QoS is not 3
3.1.2-15  no will: no will retain
3.1.2-16  will retain 0: not retained
3.1.2-17  will retain 1: retained
3.1.2-18  no user name flag: no user name
3.1.2-19  user name flag: a user name
3.1.2-20  no password flag: no password
3.1.2-21  password flag: a password
3.1.2-22  no password without a user name
3.1.2-23  PINGREQ when there is nothing else to send | client
3.1.2-24  silence for one and a half keep-alives ends the connection
3.1.3-1   the order of CONNECT's payload
3.1.3-2   the client id names the state
3.1.3-3   the client id is there and first
3.1.3-4   the client id is UTF-8
3.1.3-5   client ids of 1 to 23 letters and digits are allowed
3.1.3-6   an empty client id gets one of the server's
3.1.3-7   an empty client id has clean session 1 | client
3.1.3-8   an empty client id with clean session 0: 0x02 and the end
3.1.3-9   a client id that is refused: 0x02 and the end
3.1.3-10  the will topic is UTF-8
3.1.3-11  the user name is UTF-8
3.1.4-1   a CONNECT that is none ends the connection without CONNACK
3.1.4-2   a client id that is connected already ends the first connection
3.1.4-3   clean session is processed
3.1.4-4   CONNACK 0x00 acknowledges
3.1.4-5   after a CONNECT that was refused nothing is processed
3.2.0-1   the server's first packet is CONNACK
3.2.2-1   clean session 1: session present 0
3.2.2-2   clean session 0 and a session: session present 1
3.2.2-3   and none: session present 0
3.2.2-4   a refusal: session present 0
3.2.2-5   a refusal is followed by the end
3.2.2-6   what has no return code ends the connection without CONNACK
3.3.1-1   DUP when it is sent again
3.3.1-2   no DUP with QoS 0
3.3.1-3   DUP is not carried over to subscribers
3.3.1-4   QoS 3 ends the connection
3.3.1-5   a retained message is stored for later subscribers
3.3.1-6   a new subscription gets the last one of each topic
3.3.1-7   a retained message of QoS 0 replaces the one before
3.3.1-8   with the flag where the subscription is new
3.3.1-9   without it where it was there
3.3.1-10  an empty one is delivered and takes the stored one away
3.3.1-11  an empty one is not stored
3.3.1-12  without retain nothing is stored, replaced or taken away
3.3.2-1   the topic comes first and is UTF-8
3.3.2-2   no wildcards in a topic name
3.3.2-3   what comes matches the filter
3.3.4-1   the answer to a PUBLISH is what its QoS asks for
3.3.5-1   overlapping subscriptions: the highest QoS of them
3.3.5-2   a PUBLISH that is not allowed is acknowledged or ends the connection
3.6.1-1   PUBREL's reserved flags
3.8.1-1   SUBSCRIBE's reserved flags
3.8.3-1   topic filters are UTF-8
3.8.3-2   a server without wildcards refuses them
3.8.3-3   SUBSCRIBE has a filter
3.8.3-4   reserved bits and QoS 3 end the connection
3.8.4-1   SUBSCRIBE is answered with SUBACK
3.8.4-2   SUBACK has its packet id
3.8.4-3   the same filter again replaces the subscription, and retained messages come again
3.8.4-4   several filters are as several SUBSCRIBEs
3.8.4-5   a return code for each filter
3.8.4-6   delivery has the lower of both QoS
3.9.3-1   SUBACK's codes are in the filters' order
3.9.3-2   SUBACK's return codes
3.10.1-1  UNSUBSCRIBE's reserved flags
3.10.3-1  its filters are UTF-8
3.10.3-2  UNSUBSCRIBE has a filter
3.10.4-1  filters are compared byte by byte
3.10.4-2  nothing new comes afterwards
3.10.4-3  what is on its way is completed
3.10.4-4  UNSUBSCRIBE is answered with UNSUBACK of its packet id
3.10.4-5  even where nothing was subscribed
3.10.4-6  several filters are as several UNSUBSCRIBEs
3.12.4-1  PINGREQ is answered
3.14.1-1  DISCONNECT's reserved flags
3.14.4-1  the client closes after DISCONNECT | client
3.14.4-2  and sends nothing more | client
3.14.4-3  DISCONNECT discards the will
4.1.0-1   the state is kept as long as the session
4.1.0-2   a session lasts as long as its connection
4.3.1-1   QoS 0 is sent without DUP
4.3.2-1   QoS 1: what the sender does
4.3.2-2   QoS 1: what the receiver does
4.3.3-1   QoS 2: what the sender does
4.3.3-2   QoS 2: what the receiver does
4.4.0-1   what is unacknowledged is sent again when the client is back
4.5.0-1   a message is added to the sessions that subscribed
4.5.0-2   the client acknowledges what it gets | client
4.6.0-1   sent again in the first order
4.6.0-2   PUBACKs in order
4.6.0-3   PUBRECs in order
4.6.0-4   PUBRELs in order
4.6.0-5   each topic is an ordered one
4.6.0-6   an ordered topic is delivered in order
4.7.1-1   wildcards in filters, not in topic names
4.7.1-2   # alone or after /, and last
4.7.1-3   + takes a whole level
4.7.2-1   a wildcard at the beginning does not match $
4.7.3-1   topics and filters have at least one character
4.7.3-2   and no U+0000
4.7.3-3   and at most 65,535 bytes
4.7.3-4   nothing is normalized when they are compared
4.8.0-1   a protocol violation ends the connection
4.8.0-2   a transient error ends the connection | bytes cause none; a full store does, in tests/unit/domain/mqtt-session
6.0.0-1   WebSocket: binary frames | there is no WebSocket door
6.0.0-2   WebSocket: packets and frames are not aligned | there is no WebSocket door
6.0.0-3   WebSocket: the client offers "mqtt" | client
6.0.0-4   WebSocket: the server selects "mqtt" | there is no WebSocket door
7.0.0-1   a server that is also a client conforms as both | the uplink is libmosquitto: story and tests/unit/platform/mqtt-client
7.0.0-2   no extension is needed to work together
7.1.1-1   a server has a transport that is an ordered stream
7.1.2-1   a client has a transport that is an ordered stream | client
"""


def table(text):
    rows = {}
    for line in text.strip().splitlines():
        head, _, excuse = line.partition("|")
        number, what = head.split(None, 1)
        if number in rows:
            raise ValueError(f"{number} stands twice")
        rows[number] = (what.strip(), excuse.strip())
    return rows


STATEMENTS = {5: table(V5), 4: table(V311)}
VERSIONS = {5: "5.0", 4: "3.1.1"}


def covering(cases):
    """By version and number: the titles of the cases that show it."""
    found = {version: {number: [] for number in rows} for version, rows in STATEMENTS.items()}
    for case in cases:
        for number in case.statements:
            found[case.version].setdefault(number, []).append(case.title)
    return found


def problems(cases):
    """What is wrong with the tables, in sentences."""
    said, seen = [], set()
    for case in cases:
        said += [f"\"{case.title}\" names MQTT-{n}, which {VERSIONS[case.version]} does not have"
                 for n in case.statements if n not in STATEMENTS[case.version]]
        if not case.statements and not case.pattern:
            said.append(f"\"{case.title}\" names no statement")
        if (case.version, case.title) in seen:
            said.append(f"\"{case.title}\" stands twice in {VERSIONS[case.version]}")
        seen.add((case.version, case.title))
    for version, found in covering(cases).items():
        said += [f"no case names [MQTT-{n}] of {VERSIONS[version]}: {STATEMENTS[version][n][0]}"
                 for n, titles in found.items()
                 if n in STATEMENTS[version] and not titles and not STATEMENTS[version][n][1]]
    said += [f"no case shows the flaw: {flaw}" for flaw in flaws.ALL
             if flaw not in {c.pattern for c in cases}]
    return said


def listing(cases):
    """The file COVERAGE: each statement, and the cases that show it or why there is none."""
    found = covering(cases)
    out = ["Which case shows which statement of MQTT. Written by",
           "tests/integration/conformance --write; --check compares.", ""]
    for version in (4, 5):
        out += [f"MQTT {VERSIONS[version]}", ""]
        for number, (what, excuse) in STATEMENTS[version].items():
            out.append(f"[MQTT-{number}] {what}")
            titles = found[version][number]
            if excuse:
                out.append("    " + ("client only" if excuse == "client" else
                                     f"not shown: {excuse}"))
            out += [f"    - {t}" for t in titles]
        out.append("")
    patterns = dict.fromkeys(c.pattern for c in cases if c.pattern)
    for heading, some in (("Flaws that others had", flaws.ALL),
                          ("Programs of others", [p for p in patterns if p not in flaws.ALL])):
        out += [heading, ""]
        for pattern in some:
            out.append(pattern)
            out += [f"    - {VERSIONS[c.version]}: {c.title}" for c in cases if c.pattern == pattern]
        out.append("")
    return "\n".join(out)
