/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/egress.h"

#include <errno.h>
#include <string.h>

#include "../unit.h"

static char vlan10[] = "vlan10", vlan20[] = "vlan20";
static const Zone zone10 = { .interface = vlan10 }, zone20 = { .interface = vlan20 };

static EgressRule rule(const char *s)
{
        EgressRule r;

        assert_int_equal(egress_rule_parse(s, &r), 0);
        return r;
}

static Device device(const Zone *zone, const Class *class, uint8_t host)
{
        Device d = { .zone = zone, .class = class, .n_addresses = host != 0 };

        d.addresses[0] = (DeviceAddress){ 4, { 10, 10, 0, host } };
        return d;
}

static void with_hardware(Device *d, uint8_t last)
{
        memcpy(d->hardware_address, (uint8_t[]){ 2, 0, 0, 0, 0, last }, 6);
        d->has_hardware_address = true;
}

static size_t count(const EgressPlan *p, EgressKind kind)
{
        size_t n = 0;

        for (size_t i = 0; i < p->n_elements; i++)
                n += p->elements[i].kind == kind;
        return n;
}

static const EgressElement *first(const EgressPlan *p, EgressKind kind)
{
        for (size_t i = 0; i < p->n_elements; i++)
                if (p->elements[i].kind == kind)
                        return &p->elements[i];
        fail_msg("no element of kind %d", (int)kind);
        return NULL;
}

static EgressPlan plan(const Device *d, Posture posture, usec_t deadline)
{
        EgressPlan p;

        assert_int_equal(egress_plan(d, posture, deadline, &p), 0);
        return p;
}

/* ---- rules ---- */

static void disjoint(const char *const *in, size_t n, const char *const *out, size_t n_out)
{
        EgressRule rules[8], *ret;
        size_t n_ret;

        for (size_t i = 0; i < n; i++)
                rules[i] = rule(in[i]);
        assert_int_equal(egress_rules_disjoint(rules, n, &ret, &n_ret), 0);
        assert_int_equal(n_ret, n_out);
        for (size_t i = 0; i < n_out; i++) {
                EgressRule want = rule(out[i]);

                assert_memory_equal(&ret[i], &want, sizeof(want));
        }
        free(ret);
}
#define LIST(...) ((const char *const[]){ __VA_ARGS__ })

static void rules_are_made_disjoint(void **state)
{
        disjoint(LIST("tcp:192.0.2.1:443", "tcp:192.0.2.1:443"), 2, LIST("tcp:192.0.2.1:443"), 1);
        disjoint(LIST("tcp:192.0.2.1:443", "tcp:192.0.2.0/24:443"), 2, LIST("tcp:192.0.2.0/24:443"),
                 1);
        disjoint(LIST("tcp:192.0.2.1:443", "udp:192.0.2.0/24:443"), 2,
                 LIST("udp:192.0.2.0/24:443", "tcp:192.0.2.1:443"), 2);
        /* What of the narrow one is left: below and above. */
        disjoint(LIST("udp:192.0.2.0/24:100-200", "udp:192.0.2.1:50-300"), 2,
                 LIST("udp:192.0.2.0/24:100-200", "udp:192.0.2.1:201-300", "udp:192.0.2.1:50-99"),
                 3);
        disjoint(LIST("udp:[2001:db8::/32]:1-65535", "udp:[2001:db8:5::/48]:80"), 2,
                 LIST("udp:[2001:db8::/32]:1-65535"), 1);
        disjoint(LIST(""), 0, LIST(""), 0);
}

static void rules_that_make_no_sense(void **state)
{
        EgressRule good = rule("tcp:192.0.2.1:443"), bad, *ret = NULL;
        size_t n = 7;

        bad = good;
        bad.prefix = 33;
        assert_int_equal(egress_rules_disjoint(&bad, 1, &ret, &n), -EINVAL);
        bad = good;
        bad.family = 5;
        assert_int_equal(egress_rules_disjoint(&bad, 1, &ret, &n), -EINVAL);
        bad = good;
        bad.protocol = 1;
        assert_int_equal(egress_rules_disjoint(&bad, 1, &ret, &n), -EINVAL);
        bad = good;
        bad.port_first = 444;
        assert_int_equal(egress_rules_disjoint(&bad, 1, &ret, &n), -EINVAL);
        assert_null(ret);
        assert_int_equal(n, 7);
}

static uint32_t random_state;
static uint32_t next_random(uint32_t below)
{
        random_state = random_state * 1664525 + 1013904223;
        return (random_state >> 16) % below;
}

static unsigned matches(const EgressRule *rules, size_t n, uint8_t host, uint16_t port)
{
        unsigned hits = 0;

        for (size_t i = 0; i < n; i++) {
                uint8_t mask = (uint8_t)(0xff00U >> (rules[i].prefix - 24));

                hits += (host & mask) == (rules[i].addr[3] & mask) && port >= rules[i].port_first &&
                        port <= rules[i].port_last;
        }
        return hits;
}

/* Any list: every packet is allowed by the one as by the other, and by one rule alone. */
static void disjoint_means_the_same(void **state)
{
        for (random_state = 1; random_state < 400; random_state++) {
                uint32_t seed = random_state;
                size_t n = 1 + next_random(12), n_ret;
                EgressRule rules[12] = { 0 }, *ret;

                for (size_t i = 0; i < n; i++) {
                        uint16_t a = (uint16_t)next_random(20), b = (uint16_t)next_random(20);

                        rules[i] = rule("tcp:192.0.2.0:1");
                        rules[i].addr[3] = (uint8_t)(next_random(16) << 4);
                        rules[i].prefix = (uint8_t)(24 + next_random(9));
                        rules[i].port_first = MIN(a, b);
                        rules[i].port_last = MAX(a, b);
                }
                assert_int_equal(egress_rules_disjoint(rules, n, &ret, &n_ret), 0);
                for (unsigned host = 0; host < 256; host++)
                        for (uint16_t port = 0; port < 20; port++) {
                                unsigned old = matches(rules, n, (uint8_t)host, port);
                                unsigned new = matches(ret, n_ret, (uint8_t)host, port);

                                assert_int_equal(new, old > 0 ? 1 : 0);
                        }
                free(ret);
                random_state = seed;
        }
}

/* ---- plans ---- */

static void affirming_opens(void **state)
{
        EgressRule rules[] = { rule("tcp:192.0.2.10:443"), rule("tcp:[2001:db8::10]:443") };
        Class class = { .egress[POSTURE_AFFIRMING] = { rules, 2 } };
        Device d = device(&zone10, &class, 10);
        EgressPlan p;

        with_hardware(&d, 1);
        p = plan(&d, POSTURE_AFFIRMING, 77);
        assert_int_equal(count(&p, EGRESS_BOUND), 1);
        assert_string_equal(first(&p, EGRESS_BOUND)->interface, "vlan10");
        assert_int_equal(first(&p, EGRESS_BOUND)->hardware[5], 1);
        assert_int_equal(count(&p, EGRESS_PLACED), 0);
        assert_int_equal(count(&p, EGRESS_CLAIMED), 1);
        assert_int_equal(count(&p, EGRESS_CLAIMED_ETHER), 1);
        assert_int_equal(count(&p, EGRESS_HOME), 1);
        assert_int_equal(count(&p, EGRESS_UNADDRESSED), 0);
        assert_int_equal(count(&p, EGRESS_REFUSED), 1);
        /* No IPv6 address: the IPv6 rule gives nothing. */
        assert_int_equal(count(&p, EGRESS_ALLOWED), 1);
        assert_int_equal(first(&p, EGRESS_ALLOWED)->rule.family, 4);
        assert_int_equal(first(&p, EGRESS_ALLOWED)->deadline, USEC_INFINITY);
        assert_int_equal(count(&p, EGRESS_OPEN), 1);
        assert_int_equal(first(&p, EGRESS_OPEN)->deadline, 77);
        assert_int_equal(count(&p, EGRESS_QUARANTINED), 0);
        egress_plan_done(&p);

        /* Without a hardware address, and without rules. */
        d.has_hardware_address = false;
        p = plan(&d, POSTURE_UNATTESTED, USEC_INFINITY);
        assert_int_equal(p.n_elements, 3);
        assert_int_equal(count(&p, EGRESS_PLACED), 1);
        assert_int_equal(count(&p, EGRESS_CLAIMED), 1);
        assert_int_equal(count(&p, EGRESS_REFUSED), 1);
        egress_plan_done(&p);
}

static void contraindicated_closes(void **state)
{
        EgressRule rules[] = { rule("tcp:192.0.2.10:443") };
        /* Not even a list that should not be there opens anything. */
        Class class = { .egress[POSTURE_CONTRAINDICATED] = { rules, 1 } };
        Device d = device(&zone10, &class, 10);
        EgressPlan p;

        with_hardware(&d, 1);
        p = plan(&d, POSTURE_CONTRAINDICATED, USEC_INFINITY);
        assert_int_equal(count(&p, EGRESS_ALLOWED), 0);
        assert_int_equal(count(&p, EGRESS_OPEN), 0);
        assert_int_equal(count(&p, EGRESS_QUARANTINED), 1);
        assert_int_equal(count(&p, EGRESS_QUARANTINED_ETHER), 1);
        assert_int_equal(count(&p, EGRESS_BOUND), 1);
        egress_plan_done(&p);
}

static void no_address_no_egress(void **state)
{
        EgressRule rules[] = { rule("tcp:192.0.2.10:443") };
        Class class = { .egress[POSTURE_AFFIRMING] = { rules, 1 } };
        Device d = device(&zone10, &class, 0);
        EgressPlan p = plan(&d, POSTURE_AFFIRMING, USEC_INFINITY);

        assert_int_equal(p.n_elements, 0);
        egress_plan_done(&p);
        with_hardware(&d, 1);
        p = plan(&d, POSTURE_AFFIRMING, USEC_INFINITY);
        assert_int_equal(p.n_elements, 3);
        assert_int_equal(count(&p, EGRESS_UNADDRESSED), 1);
        egress_plan_done(&p);
}

static void a_double_address_counts_once(void **state)
{
        EgressRule rules[] = { rule("tcp:192.0.2.10:443") };
        Class class = { .egress[POSTURE_WARNING] = { rules, 1 } };
        Device d = device(&zone10, &class, 10);
        EgressPlan p;

        d.addresses[d.n_addresses++] = d.addresses[0];
        d.addresses[1].addr[9] = 0xff; /* behind an IPv4 address stands nothing */
        p = plan(&d, POSTURE_WARNING, USEC_INFINITY);
        assert_int_equal(count(&p, EGRESS_CLAIMED), 1);
        assert_int_equal(count(&p, EGRESS_ALLOWED), 1);
        egress_plan_done(&p);
}

static void a_zone_that_cannot_be(void **state)
{
        char name[] = "a-name-of-16-chr";
        Zone zone = { .interface = name };
        Device d = device(&zone, NULL, 10);
        EgressPlan p = { 0 };

        assert_int_equal(egress_plan(&d, POSTURE_UNATTESTED, USEC_INFINITY, &p), -EINVAL);
        name[15] = '\0';
        assert_int_equal(egress_plan(&d, POSTURE_UNATTESTED, USEC_INFINITY, &p), 0);
        egress_plan_done(&p);
        d.zone = NULL;
        assert_int_equal(egress_plan(&d, POSTURE_UNATTESTED, USEC_INFINITY, &p), -EINVAL);
}

/* ---- changes ---- */

static EgressChange change(const EgressPlan *from, const EgressPlan *to)
{
        EgressChange c;

        assert_int_equal(egress_diff(from, to, &c), 0);
        return c;
}

static void changes_between_postures(void **state)
{
        EgressRule affirming[] = { rule("tcp:192.0.2.10:443"), rule("tcp:192.0.2.11:443") };
        EgressRule warning[] = { rule("tcp:192.0.2.10:443") };
        Class class = { .egress[POSTURE_AFFIRMING] = { affirming, 2 },
                        .egress[POSTURE_WARNING] = { warning, 1 } };
        Device d = device(&zone10, &class, 10);
        EgressPlan none = plan(&d, POSTURE_UNATTESTED, USEC_INFINITY);
        EgressPlan good = plan(&d, POSTURE_AFFIRMING, 100);
        EgressPlan later = plan(&d, POSTURE_AFFIRMING, 200);
        EgressPlan warned = plan(&d, POSTURE_WARNING, 100);
        EgressPlan closed = plan(&d, POSTURE_CONTRAINDICATED, USEC_INFINITY);
        EgressChange c;

        c = change(&none, &good);
        assert_int_equal(c.n_removed, 0);
        assert_int_equal(c.n_added, 3);
        assert_false(c.tightens);
        egress_change_done(&c);

        /* The same again changes nothing; a renewal its time alone. */
        c = change(&good, &good);
        assert_int_equal(c.n_removed + c.n_added, 0);
        egress_change_done(&c);
        c = change(&good, &later);
        assert_int_equal(c.n_removed, 1);
        assert_int_equal(c.n_added, 1);
        assert_int_equal(c.removed[0]->kind, EGRESS_OPEN);
        assert_int_equal(c.added[0]->deadline, 200);
        assert_false(c.tightens);
        egress_change_done(&c);
        c = change(&later, &good); /* a verdict that ends earlier than the one before */
        assert_int_equal(c.n_removed, 1);
        assert_int_equal(c.n_added, 1);
        assert_int_equal(c.added[0]->deadline, 100);
        egress_change_done(&c);

        c = change(&good, &warned);
        assert_int_equal(c.n_removed, 1);
        assert_int_equal(c.removed[0]->rule.addr[3], 11);
        assert_int_equal(c.n_added, 0);
        assert_true(c.tightens);
        egress_change_done(&c);

        c = change(&good, &closed);
        assert_int_equal(c.n_removed, 3);
        assert_int_equal(c.n_added, 1);
        assert_true(c.tightens);
        egress_change_done(&c);
        c = change(&none, &closed);
        assert_true(c.tightens);
        egress_change_done(&c);
        c = change(&closed, &good);
        assert_int_equal(c.n_removed, 1);
        assert_int_equal(c.n_added, 3);
        assert_false(c.tightens);
        egress_change_done(&c);

        egress_plan_done(&none);
        egress_plan_done(&good);
        egress_plan_done(&later);
        egress_plan_done(&warned);
        egress_plan_done(&closed);
}

static void a_copy_is_its_own(void **state)
{
        Device d = device(&zone10, NULL, 10);
        EgressPlan p = plan(&d, POSTURE_CONTRAINDICATED, USEC_INFINITY), copy;
        EgressChange c;

        assert_int_equal(egress_plan_copy(&p, &copy), 0);
        assert_ptr_not_equal(p.elements, copy.elements);
        c = change(&p, &copy);
        assert_int_equal(c.n_removed + c.n_added, 0);
        egress_change_done(&c);
        egress_plan_done(&p);
        egress_plan_done(&copy);
}

static void two_claim_one_address(void **state)
{
        Device a = device(&zone10, NULL, 10), b = device(&zone20, NULL, 11),
               c = device(&zone20, NULL, 10);
        const Device *all[] = { &a, &b, &c }, *x = NULL, *y = NULL;

        assert_false(egress_find_conflict(all, 2, &x, &y));
        assert_true(egress_find_conflict(all, 3, &x, &y));
        assert_true((x == &a && y == &c) || (x == &c && y == &a));
        c.addresses[0].family = 6; /* other addresses that begin alike */
        assert_false(egress_find_conflict(all, 3, &x, &y));
        with_hardware(&a, 1);
        with_hardware(&b, 2);
        assert_false(egress_find_conflict(all, 3, &x, &y));
        with_hardware(&c, 2);
        assert_true(egress_find_conflict(all, 3, &x, &y));
        assert_true((x == &b && y == &c) || (x == &c && y == &b));
        a.addresses[a.n_addresses++] = a.addresses[0]; /* its own twice is no conflict */
        assert_false(egress_find_conflict(all, 2, &x, &y));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(rules_are_made_disjoint),
                cmocka_unit_test(rules_that_make_no_sense),
                cmocka_unit_test(disjoint_means_the_same),
                cmocka_unit_test(affirming_opens),
                cmocka_unit_test(contraindicated_closes),
                cmocka_unit_test(no_address_no_egress),
                cmocka_unit_test(a_double_address_counts_once),
                cmocka_unit_test(a_zone_that_cannot_be),
                cmocka_unit_test(changes_between_postures),
                cmocka_unit_test(a_copy_is_its_own),
                cmocka_unit_test(two_claim_one_address),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
