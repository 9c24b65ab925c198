/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"
#include "base/str.h"
#include "domain/policy.h"

static Class class = { .name = (char *)"meters", .telemetry = 1 << POSTURE_AFFIRMING };
static Device devices[] = {
        { .name = (char *)"dev1", .certificate_name = (char *)"dev1", .class = &class },
        { .name = (char *)"dev2", .certificate_name = (char *)"dev2", .class = &class },
};

typedef struct Fixture {
        Registry *registry;
        DeviceState *dev1;
} Fixture;

static int setup(void **state)
{
        static Fixture f;
        RegistryPort port = { 0 };
        assert_int_equal(registry_new(&port, &f.registry), 0);
        assert_int_equal(registry_apply(f.registry, devices, 2, 1, NULL, NULL), 0);
        f.dev1 = registry_get(f.registry, "dev1");
        registry_set_posture(f.registry, f.dev1, POSTURE_AFFIRMING, "", USEC_INFINITY, 1);
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
        const char *below; /* when allowed */
} Case;

typedef PolicyOutcome (*Question)(const Registry *r, const DeviceState *d, const char *topic,
                                  const char **ret);

static void check(Fixture *f, Question question, const Case *cases, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                const char *below = NULL;
                PolicyOutcome o = question(f->registry, f->dev1, cases[i].topic, &below);
                if (o != cases[i].outcome)
                        print_error("%s: %s\n", cases[i].topic, policy_outcome_to_string(o));
                assert_int_equal(o, cases[i].outcome);
                if (policy_allows(o))
                        assert_string_equal(below, cases[i].below);
                else
                        assert_null(below);
        }
}

static void publish(void **state)
{
        static const Case cases[] = {
                { "temp", POLICY_TELEMETRY, "temp" },
                { "dev1/temp", POLICY_TELEMETRY, "temp" },
                { "a/b/c", POLICY_TELEMETRY, "a/b/c" },
                { "dev10/temp", POLICY_TELEMETRY, "dev10/temp" },
                { "/temp", POLICY_TELEMETRY, "/temp" },
                { "gateway/temp", POLICY_TELEMETRY, "gateway/temp" },
                { "ratsnest", POLICY_TELEMETRY, "ratsnest" },
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
                { "cmd/#", POLICY_TELEMETRY, "cmd/#" },
                { "dev1/cmd/+", POLICY_TELEMETRY, "cmd/+" },
                { "#", POLICY_TELEMETRY, "#" },
                { "dev1/#", POLICY_TELEMETRY, "#" },
                { "+/temp", POLICY_TELEMETRY, "+/temp" },
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
        static const Case open[] = { { "temp", POLICY_TELEMETRY, "temp" } };
        check(f, policy_publish, open, ELEMENTSOF(open));
        assert_true(policy_may_receive(f->dev1));
        registry_set_posture(f->registry, f->dev1, POSTURE_WARNING, "", USEC_INFINITY, 2);
        check(f, policy_publish, closed, ELEMENTSOF(closed));
        assert_false(policy_may_receive(f->dev1));
        registry_set_posture(f->registry, f->dev1, POSTURE_AFFIRMING, "", USEC_INFINITY, 3);
        check(f, policy_publish, open, ELEMENTSOF(open));
        registry_set_quarantine(f->registry, f->dev1, true, "operator", 4);
        check(f, policy_publish, closed, ELEMENTSOF(closed));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(publish, setup, teardown),
                cmocka_unit_test_setup_teardown(subscribe, setup, teardown),
                cmocka_unit_test_setup_teardown(posture_closes_telemetry, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
