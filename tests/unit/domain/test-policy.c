/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>

#include "../unit.h"
#include "base/str.h"
#include "domain/policy.h"

#define WORDS(...)                                                                                 \
        {                                                                                          \
                .words = (char *[]){ __VA_ARGS__ },                                                \
                .n = sizeof((char *[]){ __VA_ARGS__ }) / sizeof(char *)                            \
        }

static Zone zone = { .name = (char *)"hall" };
static Class class = { .name = (char *)"meters", .telemetry = 1 << POSTURE_AFFIRMING };
static Class granted = {
        .name = (char *)"pumps",
        .telemetry = 1 << POSTURE_AFFIRMING,
        .publish = WORDS((char *)"%z/alarms/%d", (char *)"dev2/cmd/#", (char *)"+/shared/+",
                         (char *)"100%%/%x", (char *)"100%%", (char *)"dev3/cmd/#"),
        .subscribe = WORDS((char *)"%z/#", (char *)"dev2/out/+", (char *)"by-class/%c"),
        .client_ids = WORDS((char *)"%d", (char *)"%z:%d-*", (char *)"tool-??"),
};
static Class everything = {
        .name = (char *)"all",
        .telemetry = 1 << POSTURE_AFFIRMING,
        .publish = WORDS((char *)"#"),
        .subscribe = WORDS((char *)"#"),
        .client_ids = WORDS((char *)"*"),
};
static Device devices[] = {
        { .name = (char *)"dev1", .certificate_name = (char *)"dev1", .class = &class },
        { .name = (char *)"dev2", .certificate_name = (char *)"dev2", .class = &class },
        { .name = (char *)"dev3", .certificate_name = (char *)"dev3", .class = &granted },
        { .name = (char *)"dev4", .certificate_name = (char *)"dev4", .class = &everything },
};

typedef struct Fixture {
        Registry *registry;
        DeviceState *dev1, *dev3, *dev4;
} Fixture;

static int setup(void **state)
{
        static Fixture f;
        RegistryPort port = { 0 };
        assert_int_equal(registry_new(&port, &f.registry), 0);
        for (size_t i = 0; i < ELEMENTSOF(devices); i++)
                devices[i].zone = &zone;
        assert_int_equal(registry_apply(f.registry, devices, ELEMENTSOF(devices), 1, NULL, NULL),
                         0);
        f.dev1 = registry_get(f.registry, "dev1");
        f.dev3 = registry_get(f.registry, "dev3");
        f.dev4 = registry_get(f.registry, "dev4");
        for (size_t i = 0; i < ELEMENTSOF(devices); i++)
                registry_set_posture(f.registry, registry_at(f.registry, i), POSTURE_AFFIRMING, "",
                                     USEC_INFINITY, 1);
        *state = &f;
        return 0;
}

static int teardown(void **state)
{
        Fixture *f = *state;
        registry_free(f->registry);
        return 0;
}

typedef struct Case {
        const char *topic;
        PolicyOutcome outcome;
        const char *below; /* when allowed; of a granted one all of it */
} Case;

typedef PolicyOutcome (*Question)(const Registry *r, const DeviceState *d, const char *topic,
                                  PolicyTopic *ret);

/* The three parts of an answer say the same. */
static void check_topic(const DeviceState *d, PolicyOutcome o, const char *topic,
                        const PolicyTopic *t)
{
        char expected[POLICY_TOPIC_MAX];
        assert_string_equal(t->absolute + t->left_out, topic);
        snprintf(expected, sizeof expected, "%s/", d->device->name);
        if (t->left_out > 0) {
                assert_int_equal(t->left_out, strlen(expected));
                assert_memory_equal(t->absolute, expected, t->left_out);
        }
        if (o == POLICY_OWN)
                assert_int_equal(t->below, strlen(expected));
        if (o == POLICY_ATTESTATION)
                assert_int_equal(t->below, strlen("rats/") + strlen(expected));
        if (o == POLICY_GRANTED)
                assert_int_equal(t->below + t->left_out, 0);
}

static void check_of(const Fixture *f, const DeviceState *d, Question question, const Case *cases,
                     size_t n)
{
        for (size_t i = 0; i < n; i++) {
                PolicyTopic t, untouched;
                memset(&t, '?', sizeof t);
                untouched = t;
                PolicyOutcome o = question(f->registry, d, cases[i].topic, &t);
                if (o != cases[i].outcome)
                        print_error("%s: %s\n", cases[i].topic, policy_outcome_to_string(o));
                assert_int_equal(o, cases[i].outcome);
                if (policy_allows(o)) {
                        check_topic(d, o, cases[i].topic, &t);
                        assert_string_equal(t.absolute + t.below, cases[i].below);
                } else {
                        assert_memory_equal(&t, &untouched, sizeof t);
                }
        }
}

static void check(Fixture *f, Question question, const Case *cases, size_t n)
{
        check_of(f, f->dev1, question, cases, n);
}

static void publish(void **state)
{
        static const Case cases[] = {
                { "temp", POLICY_OWN, "temp" },
                { "dev1/temp", POLICY_OWN, "temp" },
                { "a/b/c", POLICY_OWN, "a/b/c" },
                { "dev10/temp", POLICY_OWN, "dev10/temp" },
                { "/temp", POLICY_OWN, "/temp" },
                { "gateway/temp", POLICY_OWN, "gateway/temp" },
                { "ratsnest", POLICY_OWN, "ratsnest" },
                { "rats/dev1/evidence", POLICY_ATTESTATION, "evidence" },
                { "dev2/temp", POLICY_FOREIGN, NULL },
                { "dev2", POLICY_FOREIGN, NULL },
                { "dev2/", POLICY_FOREIGN, NULL },
                { "rats/dev2/evidence", POLICY_RESERVED, NULL },
                { "rats/dev1", POLICY_RESERVED, NULL },
                { "rats/dev1/", POLICY_RESERVED, NULL },
                { "rats", POLICY_RESERVED, NULL },
                { "rats/dev10/evidence", POLICY_RESERVED, NULL },
                { "dev1/rats/dev1/evidence", POLICY_RESERVED, NULL },
                { "cmd/reboot", POLICY_RESERVED, NULL },
                { "cmd", POLICY_RESERVED, NULL },
                { "dev1/cmd/reboot", POLICY_RESERVED, NULL },
                { "$SYS/uptime", POLICY_RESERVED, NULL },
                { "$", POLICY_RESERVED, NULL },
                { "dev1/$SYS", POLICY_RESERVED, NULL },
                { "", POLICY_BAD_TOPIC, NULL },
                { "dev1", POLICY_BAD_TOPIC, NULL },
                { "dev1/", POLICY_BAD_TOPIC, NULL },
                { "a/+", POLICY_BAD_TOPIC, NULL },
                { "#", POLICY_BAD_TOPIC, NULL },
        };
        check(*state, policy_publish, cases, ELEMENTSOF(cases));
}

static void subscribe(void **state)
{
        static const Case cases[] = {
                { "cmd/#", POLICY_OWN, "cmd/#" },
                { "dev1/cmd/+", POLICY_OWN, "cmd/+" },
                { "#", POLICY_OWN, "#" },
                { "dev1/#", POLICY_OWN, "#" },
                { "+/temp", POLICY_OWN, "+/temp" },
                { "rats/dev1/#", POLICY_ATTESTATION, "#" },
                { "rats/dev1/nonce", POLICY_ATTESTATION, "nonce" },
                { "rats/+/nonce", POLICY_RESERVED, NULL },
                { "rats/#", POLICY_RESERVED, NULL },
                { "dev2/#", POLICY_FOREIGN, NULL },
                { "$share/group/dev2/#", POLICY_RESERVED, NULL },
                { "", POLICY_BAD_TOPIC, NULL },
        };
        check(*state, policy_subscribe, cases, ELEMENTSOF(cases));
}

static void posture_closes_telemetry(void **state)
{
        Fixture *f = *state;
        static const Case closed[] = {
                { "temp", POLICY_POSTURE, NULL },
                { "rats/dev1/evidence", POLICY_ATTESTATION, "evidence" },
                { "dev2/temp", POLICY_FOREIGN, NULL },
        };
        static const Case will[] = {
                { "temp", POLICY_OWN, "temp" },
                { "cmd/temp", POLICY_RESERVED, NULL },
                { "dev2/temp", POLICY_FOREIGN, NULL },
        };
        static const Case open[] = { { "temp", POLICY_OWN, "temp" } };
        check(f, policy_publish, open, ELEMENTSOF(open));
        assert_true(policy_may_receive(f->dev1));
        registry_set_posture(f->registry, f->dev1, POSTURE_WARNING, "", USEC_INFINITY, 2);
        check(f, policy_publish, closed, ELEMENTSOF(closed));
        check(f, policy_will, will, ELEMENTSOF(will));
        assert_false(policy_may_receive(f->dev1));
        registry_set_posture(f->registry, f->dev1, POSTURE_AFFIRMING, "", USEC_INFINITY, 3);
        check(f, policy_publish, open, ELEMENTSOF(open));
        registry_set_quarantine(f->registry, f->dev1, true, "operator", 4);
        check(f, policy_publish, closed, ELEMENTSOF(closed));
}

static void publish_by_grant(void **state)
{
        static const Case cases[] = {
                { "hall/alarms/dev3", POLICY_GRANTED, "hall/alarms/dev3" },
                { "hall/alarms/dev1", POLICY_OWN, "hall/alarms/dev1" },
                { "hall/alarms", POLICY_OWN, "hall/alarms" },
                { "dev2/cmd/reboot", POLICY_GRANTED, "dev2/cmd/reboot" },
                { "dev2/cmd", POLICY_GRANTED, "dev2/cmd" },
                { "dev2/temp", POLICY_FOREIGN, NULL },
                { "dev1/cmd/reboot", POLICY_FOREIGN, NULL },
                { "dev2/shared/x", POLICY_GRANTED, "dev2/shared/x" },
                { "dev1/shared/x/y", POLICY_FOREIGN, NULL },
                { "x/shared/", POLICY_GRANTED, "x/shared/" },
                { "100%", POLICY_GRANTED, "100%" },
                /* its own stays its own */
                { "dev3/shared/x", POLICY_OWN, "shared/x" },
                { "dev3/cmd/x", POLICY_RESERVED, NULL },
                { "cmd/shared/x", POLICY_RESERVED, NULL },
                { "rats/shared/x", POLICY_RESERVED, NULL },
                { "rats/dev3/evidence", POLICY_ATTESTATION, "evidence" },
                { "gateway/shared/x", POLICY_OWN, "gateway/shared/x" },
                { "$x/shared/x", POLICY_RESERVED, NULL },
                { "temp", POLICY_OWN, "temp" },
                { "+/shared/x", POLICY_BAD_TOPIC, NULL },
                { "", POLICY_BAD_TOPIC, NULL },
        };
        const Fixture *f = *state;
        check_of(f, f->dev3, policy_publish, cases, ELEMENTSOF(cases));
}

static void subscribe_by_grant(void **state)
{
        static const Case cases[] = {
                { "hall/#", POLICY_GRANTED, "hall/#" },
                { "hall", POLICY_GRANTED, "hall" },
                { "hall/+/x", POLICY_GRANTED, "hall/+/x" },
                { "dev2/out/+", POLICY_GRANTED, "dev2/out/+" },
                { "dev2/out/x", POLICY_GRANTED, "dev2/out/x" },
                { "dev2/out/#", POLICY_FOREIGN, NULL },
                { "dev2/+/x", POLICY_FOREIGN, NULL },
                { "by-class/pumps", POLICY_GRANTED, "by-class/pumps" },
                { "by-class/meters", POLICY_OWN, "by-class/meters" },
                { "#", POLICY_OWN, "#" },
                { "+/x", POLICY_OWN, "+/x" },
                { "cmd/#", POLICY_OWN, "cmd/#" },
                { "dev3/#", POLICY_OWN, "#" },
                /* granted for publishing alone */
                { "dev2/cmd/#", POLICY_FOREIGN, NULL },
                { "dev2/shared/x", POLICY_FOREIGN, NULL },
                { "", POLICY_BAD_TOPIC, NULL },
        };
        const Fixture *f = *state;
        check_of(f, f->dev3, policy_subscribe, cases, ELEMENTSOF(cases));
}

/* A grant of everything takes nothing from its device. */
static void everything_is_granted(void **state)
{
        static const Case published[] = {
                { "temp", POLICY_GRANTED, "temp" },
                { "dev2/cmd/x", POLICY_GRANTED, "dev2/cmd/x" },
                { "dev4/temp", POLICY_OWN, "temp" },
                { "cmd/x", POLICY_RESERVED, NULL },
                { "dev4/cmd/x", POLICY_RESERVED, NULL },
                { "gateway/x", POLICY_OWN, "gateway/x" },
                { "rats/dev2/evidence", POLICY_RESERVED, NULL },
                { "$SYS/x", POLICY_RESERVED, NULL },
        };
        static const Case subscribed[] = {
                { "#", POLICY_GRANTED, "#" },
                { "+/temp", POLICY_GRANTED, "+/temp" },
                { "dev2/#", POLICY_GRANTED, "dev2/#" },
                { "dev4/#", POLICY_OWN, "#" },
                { "cmd/#", POLICY_OWN, "cmd/#" },
                { "gateway/#", POLICY_OWN, "gateway/#" },
                { "rats/dev4/#", POLICY_ATTESTATION, "#" },
                { "rats/#", POLICY_RESERVED, NULL },
                { "$SYS/#", POLICY_RESERVED, NULL },
        };
        const Fixture *f = *state;
        check_of(f, f->dev4, policy_publish, published, ELEMENTSOF(published));
        check_of(f, f->dev4, policy_subscribe, subscribed, ELEMENTSOF(subscribed));
}

static void posture_closes_grants(void **state)
{
        static const Case closed[] = {
                { "hall/alarms/dev3", POLICY_POSTURE, NULL },
                { "rats/dev3/evidence", POLICY_ATTESTATION, "evidence" },
        };
        Fixture *f = *state;
        registry_set_posture(f->registry, f->dev3, POSTURE_WARNING, "", USEC_INFINITY, 2);
        check_of(f, f->dev3, policy_publish, closed, ELEMENTSOF(closed));
}

static void long_topics(void **state)
{
        Fixture *f = *state;
        char topic[TOPIC_BYTES_MAX + 2];
        PolicyTopic t;
        memset(topic, 'a', sizeof topic);
        topic[TOPIC_BYTES_MAX] = '\0';
        assert_int_equal(policy_publish(f->registry, f->dev1, topic, &t), POLICY_OWN);
        assert_int_equal(strlen(t.absolute), TOPIC_BYTES_MAX + 5);
        assert_int_equal(policy_publish(f->registry, f->dev4, topic, &t), POLICY_GRANTED);
        topic[TOPIC_BYTES_MAX] = 'a';
        topic[TOPIC_BYTES_MAX + 1] = '\0';
        for (unsigned i = 0; i < 2; i++) {
                const DeviceState *d = i ? f->dev1 : f->dev4;
                assert_int_equal(policy_publish(f->registry, d, topic, &t), POLICY_BAD_TOPIC);
                assert_int_equal(policy_subscribe(f->registry, d, topic, &t), POLICY_BAD_TOPIC);
        }
}

/* The longest topic of a device is the same one with its name in front: its will is looked at in
 * that form again. */
static void long_topics_again(void **state)
{
        Fixture *f = *state;
        char topic[TOPIC_BYTES_MAX + 1];
        PolicyTopic t, again;
        memset(topic, 'a', TOPIC_BYTES_MAX);
        topic[TOPIC_BYTES_MAX] = '\0';
        assert_int_equal(policy_publish(f->registry, f->dev1, topic, &t), POLICY_OWN);
        assert_int_equal(policy_publish(f->registry, f->dev1, t.absolute, &again), POLICY_OWN);
        assert_string_equal(again.absolute, t.absolute);
        assert_int_equal(again.below, t.below);
        strcat(t.absolute, "a");
        assert_int_equal(policy_publish(f->registry, f->dev1, t.absolute, &again),
                         POLICY_BAD_TOPIC);
}

static void client_ids(void **state)
{
        static const struct {
                Bytes id;
                bool plain, granted, everything; /* of dev1 without any, dev3, dev4 */
        } t[] = {
                { BYTES_LITERAL("dev3"), false, true, true },
                { BYTES_LITERAL("dev1"), false, false, true },
                { BYTES_LITERAL("dev3/shell"), false, false, true },
                { BYTES_LITERAL("hall:dev3-x"), false, true, true },
                { BYTES_LITERAL("hall:dev1-x"), false, false, true },
                { BYTES_LITERAL("tool-42"), false, true, true },
                { BYTES_LITERAL("tool-4"), false, false, true },
                { BYTES_LITERAL(""), false, false, false },
                { BYTES_LITERAL("a\0b"), false, false, false },
                { BYTES_LITERAL("a\x1b"), false, false, false },
                { BYTES_LITERAL("\xc3"), false, false, false },
                { BYTES_LITERAL("dev1/auto-01234567"), true, false, true },
                { BYTES_LITERAL("dev1/auto-0123456789abcdefABCDEF0123456789"), true, false, true },
                { BYTES_LITERAL("dev1/auto-0123456"), false, false, true },
                { BYTES_LITERAL("dev1/auto-0123456789abcdefABCDEF01234567890"), false, false,
                  true },
                { BYTES_LITERAL("dev1/auto-0123456g"), false, false, true },
                { BYTES_LITERAL("dev1/auto-"), false, false, true },
                { BYTES_LITERAL("dev3/auto-01234567"), false, true, true },
                { BYTES_LITERAL("dev10/auto-01234567"), false, false, true },
                { BYTES_LITERAL("dev1auto-01234567"), false, false, true },
        };
        const Fixture *f = *state;
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                if (policy_client_id(f->dev1, t[i].id) != t[i].plain ||
                    policy_client_id(f->dev3, t[i].id) != t[i].granted ||
                    policy_client_id(f->dev4, t[i].id) != t[i].everything)
                        fail_msg("client id %zu", i);
        }
        char id[POLICY_CLIENT_ID_MAX + 1];
        memset(id, 'a', sizeof id);
        assert_true(policy_client_id(f->dev4, BYTES(id, sizeof id - 1)));
        assert_false(policy_client_id(f->dev4, BYTES(id, sizeof id)));
}

static void same_grants(void **state)
{
        Class by_name = { .name = (char *)"x", .publish = WORDS((char *)"a/%d") };
        Class by_class = { .name = (char *)"x", .publish = WORDS((char *)"a/%c") };
        Class literal = { .name = (char *)"y", .publish = WORDS((char *)"a/x") };
        Class hears = { .name = (char *)"x", .subscribe = WORDS((char *)"a/x") };
        Class called = { .name = (char *)"x", .client_ids = WORDS((char *)"a/x") };
        Class none = { .name = (char *)"x" };
        Class *different[] = { &by_name, &by_class, &hears, &called, &none };
        Device a = { .name = (char *)"d", .zone = &zone }, b = a;
        for (size_t i = 0; i < ELEMENTSOF(different); i++) {
                for (size_t j = 0; j < ELEMENTSOF(different); j++) {
                        a.class = different[i];
                        b.class = different[j];
                        assert_int_equal(policy_same_grants(&a, &b), i == j);
                }
        }
        a.class = &by_class; /* it is what they come to that counts */
        b.class = &literal;
        assert_true(policy_same_grants(&a, &b));
        b.class = &by_class;
        Class renamed = by_class;
        renamed.name = (char *)"z";
        b.class = &renamed;
        assert_false(policy_same_grants(&a, &b));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(publish, setup, teardown),
                cmocka_unit_test_setup_teardown(subscribe, setup, teardown),
                cmocka_unit_test_setup_teardown(posture_closes_telemetry, setup, teardown),
                cmocka_unit_test_setup_teardown(publish_by_grant, setup, teardown),
                cmocka_unit_test_setup_teardown(subscribe_by_grant, setup, teardown),
                cmocka_unit_test_setup_teardown(everything_is_granted, setup, teardown),
                cmocka_unit_test_setup_teardown(posture_closes_grants, setup, teardown),
                cmocka_unit_test_setup_teardown(long_topics, setup, teardown),
                cmocka_unit_test_setup_teardown(long_topics_again, setup, teardown),
                cmocka_unit_test_setup_teardown(client_ids, setup, teardown),
                cmocka_unit_test(same_grants),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
