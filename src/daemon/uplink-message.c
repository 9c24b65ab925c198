/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/uplink-message.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

/* RFC 3339 with milliseconds. */
static void format_time(usec_t t, char ret[static USEC_FORMAT_MAX])
{
        usec_format_utc(t, ret);
        size_t len = strlen(ret);
        if (len > 0 && ret[len - 1] == 'Z')
                snprintf(ret + len - 1, USEC_FORMAT_MAX - len, ".%03uZ",
                         (unsigned)(t / USEC_PER_MSEC % 1000));
}

int uplink_message_publish(MqttClient *client, const char *base, const StoreRecord *r, int *ret_mid)
{
        char sequence[24], epoch[24], received[USEC_FORMAT_MAX];
        _cleanup_free_ char *topic = NULL;
        const char *name = isempty(r->device) ? "gateway" : r->device;
        if (asprintf(&topic, "%s%s/%s", base, name, r->topic) < 0) {
                topic = NULL;
                return -ENOMEM;
        }
        snprintf(sequence, sizeof(sequence), "%llu", (unsigned long long)r->device_sequence);
        snprintf(epoch, sizeof(epoch), "%llu", (unsigned long long)r->epoch);
        format_time(r->received, received);
        const MqttUserProperty properties[] = {
                { "device", name },       { "posture", r->posture }, { "received-at", received },
                { "sequence", sequence }, { "epoch", epoch },
        };
        const MqttClientPublish message = {
                .topic = topic,
                .payload = r->payload,
                .content_type = r->content_type,
                .properties = properties,
                .n_properties = ELEMENTSOF(properties),
        };
        return mqtt_client_publish(client, &message, ret_mid);
}
