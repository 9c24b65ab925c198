/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/mqtt-internal.h"

const char *mqtt_reason_to_string(MqttReason reason)
{
        switch (reason) {
        case MQTT_SUCCESS:
                return "success";
        case MQTT_GRANTED_QOS_1:
                return "granted-qos-1";
        case MQTT_GRANTED_QOS_2:
                return "granted-qos-2";
        case MQTT_DISCONNECT_WITH_WILL:
                return "disconnect-with-will";
        case MQTT_NO_MATCHING_SUBSCRIBERS:
                return "no-matching-subscribers";
        case MQTT_NO_SUBSCRIPTION_EXISTED:
                return "no-subscription-existed";
        case MQTT_CONTINUE_AUTHENTICATION:
                return "continue-authentication";
        case MQTT_RE_AUTHENTICATE:
                return "re-authenticate";
        case MQTT_UNSPECIFIED_ERROR:
                return "unspecified-error";
        case MQTT_MALFORMED_PACKET:
                return "malformed-packet";
        case MQTT_PROTOCOL_ERROR:
                return "protocol-error";
        case MQTT_IMPLEMENTATION_SPECIFIC:
                return "implementation-specific";
        case MQTT_UNSUPPORTED_VERSION:
                return "unsupported-protocol-version";
        case MQTT_CLIENT_ID_NOT_VALID:
                return "client-id-not-valid";
        case MQTT_BAD_USER_NAME_OR_PASSWORD:
                return "bad-user-name-or-password";
        case MQTT_NOT_AUTHORIZED:
                return "not-authorized";
        case MQTT_SERVER_UNAVAILABLE:
                return "server-unavailable";
        case MQTT_SERVER_BUSY:
                return "server-busy";
        case MQTT_BANNED:
                return "banned";
        case MQTT_SERVER_SHUTTING_DOWN:
                return "server-shutting-down";
        case MQTT_BAD_AUTHENTICATION_METHOD:
                return "bad-authentication-method";
        case MQTT_KEEP_ALIVE_TIMEOUT:
                return "keep-alive-timeout";
        case MQTT_SESSION_TAKEN_OVER:
                return "session-taken-over";
        case MQTT_TOPIC_FILTER_INVALID:
                return "topic-filter-invalid";
        case MQTT_TOPIC_NAME_INVALID:
                return "topic-name-invalid";
        case MQTT_PACKET_ID_IN_USE:
                return "packet-id-in-use";
        case MQTT_PACKET_ID_NOT_FOUND:
                return "packet-id-not-found";
        case MQTT_RECEIVE_MAXIMUM_EXCEEDED:
                return "receive-maximum-exceeded";
        case MQTT_TOPIC_ALIAS_INVALID:
                return "topic-alias-invalid";
        case MQTT_PACKET_TOO_LARGE:
                return "packet-too-large";
        case MQTT_MESSAGE_RATE_TOO_HIGH:
                return "message-rate-too-high";
        case MQTT_QUOTA_EXCEEDED:
                return "quota-exceeded";
        case MQTT_ADMINISTRATIVE_ACTION:
                return "administrative-action";
        case MQTT_PAYLOAD_FORMAT_INVALID:
                return "payload-format-invalid";
        case MQTT_RETAIN_NOT_SUPPORTED:
                return "retain-not-supported";
        case MQTT_QOS_NOT_SUPPORTED:
                return "qos-not-supported";
        case MQTT_USE_ANOTHER_SERVER:
                return "use-another-server";
        case MQTT_SERVER_MOVED:
                return "server-moved";
        case MQTT_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED:
                return "shared-subscriptions-not-supported";
        case MQTT_CONNECTION_RATE_EXCEEDED:
                return "connection-rate-exceeded";
        case MQTT_MAXIMUM_CONNECT_TIME:
                return "maximum-connect-time";
        case MQTT_SUBSCRIPTION_IDS_NOT_SUPPORTED:
                return "subscription-ids-not-supported";
        case MQTT_WILDCARDS_NOT_SUPPORTED:
                return "wildcards-not-supported";
        }
        return "unknown-reason";
}

/* Type 0 is reserved; the others' flags and versions are the parsers' to check. */
MqttFraming mqtt_frame(Bytes input, size_t max, MqttFrame *ret)
{
        if (input.len == 0)
                return MQTT_FRAMING_NEED_MORE;
        uint8_t first = input.data[0];
        if (first >> 4 == 0)
                return MQTT_FRAMING_MALFORMED;
        Reader r = reader_new(BYTES(input.data + 1, MIN(input.len - 1, (size_t)4)));
        bool padded = false;
        uint32_t len = mqtt_read_varint(&r, &padded);
        if (!reader_ok(&r))
                return input.len > 4 ? MQTT_FRAMING_MALFORMED : MQTT_FRAMING_NEED_MORE;
        size_t header = (size_t)(r.p - input.data);
        if (header + len > max)
                return MQTT_FRAMING_TOO_LARGE;
        if (input.len < header + len)
                return MQTT_FRAMING_NEED_MORE;
        *ret = (MqttFrame){
                .type = (MqttType)(first >> 4),
                .flags = first & 0x0f,
                .body = BYTES(input.data + header, len),
                .size = header + len,
                .padded = padded,
        };
        return MQTT_FRAMING_PACKET;
}
