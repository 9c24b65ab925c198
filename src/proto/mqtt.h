/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* MQTT 3.1.1 and 5.0 control packets, the server's side: bytes to structs and back. No state, no
 * I/O. Section and statement numbers are those of MQTT 5.0 unless "3.1.1" is said. What is parsed
 * are views into the packet's bytes. */

#include "base/buf.h"
#include "base/bytes.h"
#include "base/reader.h"

/* The largest number in four bytes (section 1.5.5): a length, a subscription identifier. */
#define MQTT_VARINT_MAX 268435455u
/* The largest packet, with its header. */
#define MQTT_PACKET_MAX (MQTT_VARINT_MAX + 5)

typedef enum MqttVersion {
        MQTT_3_1_1 = 4,
        MQTT_5 = 5,
} MqttVersion;

typedef enum MqttType {
        MQTT_CONNECT = 1,
        MQTT_CONNACK = 2,
        MQTT_PUBLISH = 3,
        MQTT_PUBACK = 4,
        MQTT_PUBREC = 5,
        MQTT_PUBREL = 6,
        MQTT_PUBCOMP = 7,
        MQTT_SUBSCRIBE = 8,
        MQTT_SUBACK = 9,
        MQTT_UNSUBSCRIBE = 10,
        MQTT_UNSUBACK = 11,
        MQTT_PINGREQ = 12,
        MQTT_PINGRESP = 13,
        MQTT_DISCONNECT = 14,
        MQTT_AUTH = 15,
} MqttType;

/* Section 2.4. A parser returns MQTT_SUCCESS or why the connection has to end. */
typedef enum MqttReason {
        MQTT_SUCCESS = 0x00,
        MQTT_GRANTED_QOS_1 = 0x01,
        MQTT_GRANTED_QOS_2 = 0x02,
        MQTT_DISCONNECT_WITH_WILL = 0x04,
        MQTT_NO_MATCHING_SUBSCRIBERS = 0x10,
        MQTT_NO_SUBSCRIPTION_EXISTED = 0x11,
        MQTT_CONTINUE_AUTHENTICATION = 0x18,
        MQTT_RE_AUTHENTICATE = 0x19,
        MQTT_UNSPECIFIED_ERROR = 0x80,
        MQTT_MALFORMED_PACKET = 0x81,
        MQTT_PROTOCOL_ERROR = 0x82,
        MQTT_IMPLEMENTATION_SPECIFIC = 0x83,
        MQTT_UNSUPPORTED_VERSION = 0x84,
        MQTT_CLIENT_ID_NOT_VALID = 0x85,
        MQTT_BAD_USER_NAME_OR_PASSWORD = 0x86,
        MQTT_NOT_AUTHORIZED = 0x87,
        MQTT_SERVER_UNAVAILABLE = 0x88,
        MQTT_SERVER_BUSY = 0x89,
        MQTT_BANNED = 0x8a,
        MQTT_SERVER_SHUTTING_DOWN = 0x8b,
        MQTT_BAD_AUTHENTICATION_METHOD = 0x8c,
        MQTT_KEEP_ALIVE_TIMEOUT = 0x8d,
        MQTT_SESSION_TAKEN_OVER = 0x8e,
        MQTT_TOPIC_FILTER_INVALID = 0x8f,
        MQTT_TOPIC_NAME_INVALID = 0x90,
        MQTT_PACKET_ID_IN_USE = 0x91,
        MQTT_PACKET_ID_NOT_FOUND = 0x92,
        MQTT_RECEIVE_MAXIMUM_EXCEEDED = 0x93,
        MQTT_TOPIC_ALIAS_INVALID = 0x94,
        MQTT_PACKET_TOO_LARGE = 0x95,
        MQTT_MESSAGE_RATE_TOO_HIGH = 0x96,
        MQTT_QUOTA_EXCEEDED = 0x97,
        MQTT_ADMINISTRATIVE_ACTION = 0x98,
        MQTT_PAYLOAD_FORMAT_INVALID = 0x99,
        MQTT_RETAIN_NOT_SUPPORTED = 0x9a,
        MQTT_QOS_NOT_SUPPORTED = 0x9b,
        MQTT_USE_ANOTHER_SERVER = 0x9c,
        MQTT_SERVER_MOVED = 0x9d,
        MQTT_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9e,
        MQTT_CONNECTION_RATE_EXCEEDED = 0x9f,
        MQTT_MAXIMUM_CONNECT_TIME = 0xa0,
        MQTT_SUBSCRIPTION_IDS_NOT_SUPPORTED = 0xa1,
        MQTT_WILDCARDS_NOT_SUPPORTED = 0xa2,
} MqttReason;

/* A short word for a log's REASON= field. */
const char *mqtt_reason_to_string(MqttReason reason);

/* The property identifiers of section 2.2.2.2. */
typedef enum MqttProperty {
        MQTT_PROPERTY_PAYLOAD_FORMAT = 0x01,
        MQTT_PROPERTY_MESSAGE_EXPIRY = 0x02,
        MQTT_PROPERTY_CONTENT_TYPE = 0x03,
        MQTT_PROPERTY_RESPONSE_TOPIC = 0x08,
        MQTT_PROPERTY_CORRELATION_DATA = 0x09,
        MQTT_PROPERTY_SUBSCRIPTION_ID = 0x0b,
        MQTT_PROPERTY_SESSION_EXPIRY = 0x11,
        MQTT_PROPERTY_ASSIGNED_CLIENT_ID = 0x12,
        MQTT_PROPERTY_SERVER_KEEP_ALIVE = 0x13,
        MQTT_PROPERTY_AUTH_METHOD = 0x15,
        MQTT_PROPERTY_AUTH_DATA = 0x16,
        MQTT_PROPERTY_REQUEST_PROBLEM = 0x17,
        MQTT_PROPERTY_WILL_DELAY = 0x18,
        MQTT_PROPERTY_REQUEST_RESPONSE = 0x19,
        MQTT_PROPERTY_RESPONSE_INFORMATION = 0x1a,
        MQTT_PROPERTY_SERVER_REFERENCE = 0x1c,
        MQTT_PROPERTY_REASON_STRING = 0x1f,
        MQTT_PROPERTY_RECEIVE_MAXIMUM = 0x21,
        MQTT_PROPERTY_TOPIC_ALIAS_MAXIMUM = 0x22,
        MQTT_PROPERTY_TOPIC_ALIAS = 0x23,
        MQTT_PROPERTY_MAXIMUM_QOS = 0x24,
        MQTT_PROPERTY_RETAIN_AVAILABLE = 0x25,
        MQTT_PROPERTY_USER = 0x26,
        MQTT_PROPERTY_MAXIMUM_PACKET_SIZE = 0x27,
        MQTT_PROPERTY_WILDCARD_AVAILABLE = 0x28,
        MQTT_PROPERTY_SUBSCRIPTION_ID_AVAILABLE = 0x29,
        MQTT_PROPERTY_SHARED_AVAILABLE = 0x2a,
        _MQTT_PROPERTY_MAX,
} MqttProperty;

#define MQTT_PROPERTY_BIT(id) (UINT64_C(1) << (id))

typedef struct MqttProperties {
        uint64_t present; /* MQTT_PROPERTY_BIT(id): which of the fields below were sent */
        uint8_t payload_format, request_problem, request_response;
        uint8_t maximum_qos, retain_available;
        uint8_t wildcard_available, subscription_id_available, shared_available;
        uint16_t server_keep_alive, receive_maximum, topic_alias_maximum, topic_alias;
        uint32_t message_expiry, subscription_id, session_expiry, will_delay; /* seconds */
        uint32_t maximum_packet_size;
        Bytes content_type, response_topic, correlation_data, assigned_client_id, auth_method;
        Bytes auth_data, response_information, server_reference, reason_string;
        Bytes block; /* all of them as they were sent; user properties are read from it */
} MqttProperties;

static inline bool mqtt_property_present(const MqttProperties *p, MqttProperty id)
{
        return p->present & MQTT_PROPERTY_BIT(id);
}
/* The next user property of a block that was parsed; `r` starts as reader_new(p->block). */
bool mqtt_user_property_next(Reader *r, Bytes *ret_name, Bytes *ret_value);

/* What a whole packet is. */
typedef struct MqttFrame {
        MqttType type;
        uint8_t flags; /* low four bits of the first byte */
        Bytes body;
        size_t size; /* of the packet with its header */
        bool padded; /* its length was not in the shortest form: 5.0 forbids it, 3.1.1 does not */
} MqttFrame;

typedef enum MqttFraming {
        MQTT_FRAMING_PACKET,
        MQTT_FRAMING_NEED_MORE,
        MQTT_FRAMING_MALFORMED, /* reserved type, or a length longer than four bytes */
        MQTT_FRAMING_TOO_LARGE, /* told by the header alone */
} MqttFraming;

/* Looks at the front of `input`. `max` bounds the whole packet. */
MqttFraming mqtt_frame(Bytes input, size_t max, MqttFrame *ret);

typedef struct MqttConnect {
        MqttVersion version; /* set even when the parser refuses, if it is one of ours; else 0 */
        bool clean_start;
        uint16_t keep_alive; /* seconds, 0: none */
        Bytes client_id;
        MqttProperties properties;
        bool has_will, will_retain, has_user_name, has_password;
        uint8_t will_qos;
        Bytes will_topic, will_payload, user_name, password;
        MqttProperties will_properties;
} MqttConnect;

typedef struct MqttPublish {
        bool dup, retain;
        uint8_t qos;
        uint16_t packet_id; /* 0 for QoS 0 */
        Bytes topic;        /* empty only with a topic alias */
        Bytes payload;
        MqttProperties properties;
} MqttPublish;

/* PUBACK, PUBREC, PUBREL, PUBCOMP. */
typedef struct MqttAck {
        uint16_t packet_id;
        MqttReason reason;
        MqttProperties properties;
} MqttAck;

/* SUBSCRIBE and UNSUBSCRIBE; the entries were all checked. */
typedef struct MqttSubscribe {
        uint16_t packet_id;
        size_t n_entries;
        MqttProperties properties;
        Reader entries; /* for mqtt_subscribe_next() and mqtt_unsubscribe_next(): by copy */
} MqttSubscribe;

typedef struct MqttSubscription {
        Bytes filter;
        uint8_t qos;
        bool no_local, retain_as_published;
        uint8_t retain_handling;
} MqttSubscription;

/* DISCONNECT and AUTH. */
typedef struct MqttDisconnect {
        MqttReason reason;
        MqttProperties properties;
} MqttDisconnect;

/* Each checks the fixed header's flags, all fields, all properties and the exact end. `ret` is
 * filled on success alone, except for the version of a CONNECT. */
MqttReason mqtt_parse_connect(const MqttFrame *f, MqttConnect *ret);
MqttReason mqtt_parse_publish(const MqttFrame *f, MqttVersion v, MqttPublish *ret);
MqttReason mqtt_parse_ack(const MqttFrame *f, MqttVersion v, MqttAck *ret);
MqttReason mqtt_parse_subscribe(const MqttFrame *f, MqttVersion v, MqttSubscribe *ret);
MqttReason mqtt_parse_unsubscribe(const MqttFrame *f, MqttVersion v, MqttSubscribe *ret);
MqttReason mqtt_parse_pingreq(const MqttFrame *f, MqttVersion v);
MqttReason mqtt_parse_disconnect(const MqttFrame *f, MqttVersion v, MqttDisconnect *ret);
MqttReason mqtt_parse_auth(const MqttFrame *f, MqttVersion v, MqttDisconnect *ret);

bool mqtt_subscribe_next(Reader *entries, MqttSubscription *ret);
bool mqtt_unsubscribe_next(Reader *entries, Bytes *ret_filter);

/* What the receiver of our packets takes. */
typedef struct MqttPeer {
        MqttVersion version;
        uint32_t maximum_packet_size; /* 0: no limit but the protocol's */
        bool no_problem_information;  /* reason strings in CONNACK and DISCONNECT alone */
} MqttPeer;

/* A message on its way to a client. */
typedef struct MqttOutgoing {
        bool dup, retain;
        uint8_t qos;
        uint16_t packet_id;
        uint16_t topic_alias; /* 0: none; else `topic` may be empty */
        Bytes topic;
        Bytes payload;
        Bytes properties; /* encoded by mqtt_properties_append() */
        bool expires;
        uint32_t message_expiry; /* seconds that are left */
        const uint32_t *subscription_ids;
        size_t n_subscription_ids;
} MqttOutgoing;

/* Writers append one whole packet or nothing: 0, -EMSGSIZE when it is more than the peer takes,
 * -ENOBUFS, -ENOMEM. A reason string (may be NULL) that does not fit or is not wanted is left
 * out; 3.1.1 has none. */

/* For 3.1.1 the reason is mapped to the return codes of its section 3.2.2.3; -EOPNOTSUPP when there
 * is none for it: then the connection closes without a word. */
int mqtt_write_connack(Buf *out, const MqttPeer *peer, bool session_present, MqttReason reason,
                       const MqttProperties *properties);
int mqtt_write_publish(Buf *out, const MqttPeer *peer, const MqttOutgoing *m);
int mqtt_write_ack(Buf *out, const MqttPeer *peer, MqttType type, uint16_t packet_id,
                   MqttReason reason, const char *reason_string);
/* One code for each entry of the SUBSCRIBE; 3.1.1 hears 0x80 for every refusal. */
int mqtt_write_suback(Buf *out, const MqttPeer *peer, uint16_t packet_id, Bytes codes,
                      const char *reason_string);
int mqtt_write_unsuback(Buf *out, const MqttPeer *peer, uint16_t packet_id, Bytes codes);
int mqtt_write_pingresp(Buf *out);
/* Nothing for 3.1.1, where a server has no DISCONNECT. */
int mqtt_write_disconnect(Buf *out, const MqttPeer *peer, MqttReason reason,
                          const char *reason_string);

/* Appends those properties of `p` that are present and in `mask`, without the length in front. */
int mqtt_properties_append(Buf *out, const MqttProperties *p, uint64_t mask);
/* Reads them again; false where it could not have written these for a message. */
bool mqtt_properties_read(Bytes encoded, uint64_t mask, MqttProperties *ret);
