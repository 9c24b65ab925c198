/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "mqtt-rights.h"

#include "require.h"

#define OPEN (1U << POSTURE_UNATTESTED)

const ClassLimits rights_limits_of_each = {
        .sessions = 3, .subscriptions = 6, .retained_bytes = 3000, .queue_bytes = 6000
};

static char *read_grant[] = { (char *)"+/t/#" }, *write_grant[] = { (char *)"b/in/#" };
static Zone zone = { .name = (char *)"hall" };
static Class classes[] = { { .name = (char *)"one" }, { .name = (char *)"two" } };
static const Device devices[] = {
        { .name = (char *)"a",
          .certificate_name = (char *)"a",
          .zone = &zone,
          .class = &classes[0] },
        { .name = (char *)"b",
          .certificate_name = (char *)"b",
          .zone = &zone,
          .class = &classes[1] },
};
static Registry *registry;
static bool known[ELEMENTSOF(devices)];

static size_t index_of(char device)
{
        return device == 'b';
}

static const DeviceState *find(const char *device)
{
        return known[index_of(device[0])] ? registry_get(registry, device) : NULL;
}

void rights_begin(void)
{
        static const RegistryPort port;
        for (size_t i = 0; i < ELEMENTSOF(classes); i++) {
                classes[i].limits = rights_limits_of_each;
                classes[i].telemetry = OPEN;
                known[i] = true;
        }
        rights_grant(false, false);
        require(registry_new(&port, &registry) == 0);
        require(registry_apply(registry, devices, ELEMENTSOF(devices), 0, NULL, NULL) == 0);
}

void rights_end(void)
{
        registry = registry_free(registry);
}

void rights_grant(bool read, bool write)
{
        classes[0].subscribe = (Words){ read_grant, read };
        classes[0].publish = (Words){ write_grant, write };
}

void rights_open(char device, bool open)
{
        classes[index_of(device)].telemetry = open ? OPEN : 0;
}

void rights_know(char device, bool is_known)
{
        known[index_of(device)] = is_known;
}

PolicyOutcome rights_decide(MqttAccess access, const char *device, const char *topic,
                            PolicyTopic *ret, void *userdata)
{
        const DeviceState *d = find(device);
        if (!d)
                return POLICY_FOREIGN;
        switch (access) {
        case MQTT_ACCESS_PUBLISH:
                return policy_publish(registry, d, topic, ret);
        case MQTT_ACCESS_WILL:
                return policy_will(registry, d, topic, ret);
        case MQTT_ACCESS_SUBSCRIBE:
                break;
        }
        return policy_subscribe(registry, d, topic, ret);
}

bool rights_may_be(const char *device, Bytes id, void *userdata)
{
        return id.data[0] == 'c' || (id.data[0] == device[0] && id.len > 1);
}

bool rights_may_receive(const char *device, void *userdata)
{
        const DeviceState *d = find(device);
        return d && policy_may_receive(d);
}

const ClassLimits *rights_limits(const char *device, void *userdata)
{
        const DeviceState *d = find(device);
        return d ? &d->device->class->limits : NULL;
}
