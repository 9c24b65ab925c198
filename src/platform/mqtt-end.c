/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/mqtt-end.h"

#include <mqtt_protocol.h>
#include <openssl/ssl.h>
#include <string.h>

/* MQTT 5 section 3.14.2.1: what a broker says of itself or of the connection, not of a message. */
bool mqtt_end_by_itself(int code)
{
        static const uint8_t codes[] = {
                MQTT_RC_SERVER_UNAVAILABLE,    MQTT_RC_SERVER_BUSY,
                MQTT_RC_SERVER_SHUTTING_DOWN,  MQTT_RC_KEEP_ALIVE_TIMEOUT,
                MQTT_RC_SESSION_TAKEN_OVER,    MQTT_RC_MESSAGE_RATE_TOO_HIGH,
                MQTT_RC_ADMINISTRATIVE_ACTION, MQTT_RC_USE_ANOTHER_SERVER,
                MQTT_RC_SERVER_MOVED,          MQTT_RC_CONNECTION_RATE_EXCEEDED,
                MQTT_RC_MAXIMUM_CONNECT_TIME,
        };
        return memchr(codes, code, sizeof(codes));
}

/* MQTT 5 section 3.2.2.2: codes that speak of who this client is. */
bool mqtt_connack_denies(int code)
{
        return code == MQTT_RC_BAD_USERNAME_OR_PASSWORD || code == MQTT_RC_NOT_AUTHORIZED ||
               code == MQTT_RC_BANNED;
}

/* RFC 8446 section 6.2: alerts that speak of this client's certificate or key. */
bool mqtt_alert_refuses(int alert)
{
        static const uint8_t alerts[] = {
                SSL_AD_BAD_CERTIFICATE,      SSL_AD_UNSUPPORTED_CERTIFICATE,
                SSL_AD_CERTIFICATE_REVOKED,  SSL_AD_CERTIFICATE_EXPIRED,
                SSL_AD_CERTIFICATE_UNKNOWN,  SSL_AD_UNKNOWN_CA,
                SSL_AD_ACCESS_DENIED,        SSL_AD_DECRYPT_ERROR,
                SSL_AD_CERTIFICATE_REQUIRED,
        };
        return alert > 0 && memchr(alerts, alert, sizeof(alerts));
}
