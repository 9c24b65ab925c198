/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a device writes where a topic, a filter or a client identifier belongs, under a class that
 * grants something. The input is lines: the grant, what the device writes, a topic to match. */
#include "base/str.h"
#include "domain/pattern.h"
#include "domain/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
        if (!ok)
                abort();
}

static Zone zone = { .name = (char *)"hall" };
static Class class, other = { .name = (char *)"other" };
static Device devices[] = {
        { .name = (char *)"dev1", .certificate_name = (char *)"a", .zone = &zone, .class = &class },
        { .name = (char *)"dev2", .certificate_name = (char *)"b", .zone = &zone, .class = &other },
};

/* Which namespace an answer is in. */
static void check_answer(PolicyOutcome o, const char *written, const PolicyTopic *t)
{
        require(strlen(t->absolute) < sizeof t->absolute);
        require(streq(t->absolute + t->left_out, written));
        require(!startswith(t->absolute, "dev1/") == (o != POLICY_OWN));
        require(!startswith(t->absolute, "rats/dev1/") == (o != POLICY_ATTESTATION));
        require(t->below == (o == POLICY_OWN ? 5 : o == POLICY_ATTESTATION ? 10 : 0));
        Bytes level = topic_first_level(bytes_from_str(t->absolute));
        require(o != POLICY_GRANTED || (!device_name_reserved(level) && level.data[0] != '$'));
}

static void check_publish(const Registry *r, const DeviceState *d, const char *topic)
{
        PolicyTopic t;
        PolicyOutcome o = policy_publish(r, d, topic, &t);
        if (!policy_allows(o))
                return;
        check_answer(o, topic, &t);
        require(topic_name_valid(bytes_from_str(t.absolute)));
        require(o != POLICY_OWN || !startswith(t.absolute + t.below, "cmd/"));
}

/* Whatever name a granted filter matches, its grant matches. */
static void check_subscribe(const Registry *r, const DeviceState *d, const char *filter,
                            const char *name)
{
        char buf[TOPIC_BYTES_MAX];
        PolicyTopic t;
        PolicyOutcome o = policy_subscribe(r, d, filter, &t);
        if (!policy_allows(o))
                return;
        check_answer(o, filter, &t);
        require(topic_filter_valid(bytes_from_str(t.absolute)));
        if (o == POLICY_GRANTED && topic_name_valid(bytes_from_str(name)) &&
            topic_matches(bytes_from_str(t.absolute), bytes_from_str(name)))
                require(topic_matches(pattern_expand(class.subscribe.words[0], d->device, buf),
                                      bytes_from_str(name)));
}

static void check(const char *grant, const char *written, const char *name)
{
        _cleanup_(registry_freep) Registry *r = NULL;
        static const RegistryPort port;
        char *words[] = { (char *)grant };
        const Words list = { words, 1 }, none = { 0 };
        class = (Class){ .name = (char *)"class", .telemetry = 1U << POSTURE_UNATTESTED };
        class.publish = class.subscribe = pattern_filter_valid(grant) ? list : none;
        class.client_ids = pattern_client_id_valid(grant) ? list : none;
        require(registry_new(&port, &r) == 0 && registry_apply(r, devices, 2, 1, NULL, NULL) == 0);
        const DeviceState *d = registry_get(r, "dev1");
        Bytes w = bytes_from_str(written);
        if (topic_name_valid(w))
                check_publish(r, d, written);
        if (topic_filter_valid(w) && !topic_filter_is_shared(w, NULL))
                check_subscribe(r, d, written, name);
        if (policy_client_id(d, w))
                require(w.len <= POLICY_CLIENT_ID_MAX && mqtt_string_valid(w) &&
                        (class.client_ids.n > 0 || startswith(written, "dev1/auto-")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_free_ char *text = bytes_to_str(BYTES(data, size));
        require(text != NULL);
        char *rest = text, *lines[3];
        for (size_t i = 0; i < ELEMENTSOF(lines); i++) {
                char *line = strsep(&rest, "\n");
                lines[i] = line ? line : (char *)"";
        }
        check(lines[0], lines[1], lines[2]);
        return 0;
}
