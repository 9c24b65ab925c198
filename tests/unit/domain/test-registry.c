/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdio.h>

#include "../unit.h"
#include "base/str.h"
#include "domain/registry.h"

static Class meters = { .name = (char *)"meters", .attestation = ATTESTATION_PSA };
static Class cameras = { .name = (char *)"cameras", .attestation = ATTESTATION_PSA };

static Device device(const char *name, const char *certificate_name, uint8_t pin)
{
        Device d = {
                .name = (char *)name,
                .certificate_name = (char *)certificate_name,
                .class = &meters,
                .spki_pinned = pin != 0,
        };
        memset(d.spki_sha256, pin, sizeof d.spki_sha256);
        return d;
}

typedef struct Heard {
        unsigned n;
        DeviceState *device;
        Posture old;
        unsigned depth, deepest;
        Registry *registry;
        DeviceState *also_quarantine; /* from within the port */
} Heard;

static void on_change(DeviceState *d, Posture old, void *userdata)
{
        Heard *h = userdata;
        h->n++;
        h->device = d;
        h->old = old;
        h->depth++;
        h->deepest = MAX(h->deepest, h->depth);
        if (h->also_quarantine) {
                DeviceState *other = h->also_quarantine;
                h->also_quarantine = NULL;
                registry_set_quarantine(h->registry, other, true, "because", 1);
                assert_int_equal(h->n, 1); /* not yet heard */
                registry_set_posture(h->registry, d, POSTURE_WARNING, "again", USEC_INFINITY, 1);
        }
        h->depth--;
}

static Registry *new_registry(Heard *h)
{
        Registry *r = NULL;
        *h = (Heard){ 0 };
        assert_int_equal(registry_new(&(RegistryPort){ on_change, h }, &r), 0);
        h->registry = r;
        return r;
}

static void order_and_lookup(void **state)
{
        Heard h;
        _cleanup_(registry_freep) Registry *r = new_registry(&h);
        Device devices[] = { device("b", "b", 0), device("c", "c", 0), device("a", "a", 0) };
        assert_int_equal(registry_size(r), 0);
        assert_null(registry_get(r, "a"));
        assert_int_equal(registry_apply(r, devices, 3, 5, NULL, NULL), 0);
        assert_int_equal(registry_size(r), 3);
        for (size_t i = 0; i < 3; i++) {
                const char *name = (const char *[]){ "a", "b", "c" }[i];
                assert_string_equal(registry_at(r, i)->device->name, name);
                assert_ptr_equal(registry_get(r, name), registry_at(r, i));
        }
        assert_int_equal(registry_at(r, 0)->posture, POSTURE_UNATTESTED);
        assert_int_equal(registry_at(r, 0)->since, 5);
        assert_int_equal(h.n, 0);
}

static unsigned n_removed;
static void on_removed(DeviceState *d, void *userdata)
{
        assert_string_equal(d->device->name, userdata);
        n_removed++;
}

static void reload_keeps_state(void **state)
{
        Heard h;
        _cleanup_(registry_freep) Registry *r = new_registry(&h);
        Device first[] = { device("a", "a", 0), device("b", "b", 0) };
        Device second[] = { device("c", "a", 0), device("b", "b", 0) };
        assert_int_equal(registry_apply(r, first, 2, 1, NULL, NULL), 0);
        DeviceState *b = registry_get(r, "b");
        b->bytes_in = 99;
        registry_set_posture(r, b, POSTURE_AFFIRMING, "good", 100, 2);
        registry_set_quarantine(r, b, true, "operator", 3);

        n_removed = 0;
        assert_int_equal(registry_apply(r, second, 2, 4, on_removed, (char *)"a"), 0);
        assert_int_equal(n_removed, 1);
        assert_ptr_equal(registry_get(r, "b"), b);
        assert_ptr_equal(b->device, &second[1]);
        assert_int_equal(b->bytes_in, 99);
        assert_int_equal(b->posture, POSTURE_AFFIRMING);
        assert_true(b->quarantined);
        assert_null(registry_get(r, "a"));
        assert_non_null(registry_get(r, "c"));
        assert_int_equal(registry_apply(r, NULL, 0, 5, NULL, NULL), 0);
        assert_int_equal(registry_size(r), 0);
}

/* Who enrols another key, identity or class under a name starts from nothing. */
static void another_identity_starts_again(void **state)
{
        for (unsigned what = 0; what < 8; what++) {
                Heard h;
                _cleanup_(registry_freep) Registry *r = new_registry(&h);
                Device a = device("a", "a", 0), b = a;
                if (what == 5)
                        b = device("a", "other", 0);
                if (what == 6)
                        b = device("a", "a", 7);
                if (what == 7) {
                        a = device("a", "a", 7);
                        b = device("a", "a", 8);
                }
                if (what == 4)
                        b.psa_client_ids[b.n_psa_client_ids++] = -1;
                if (what == 0)
                        b.class = &cameras;
                if (what == 1)
                        b.has_instance_id = true;
                if (what == 2)
                        b.attestation_key_sha256[31] = 1;
                assert_int_equal(registry_apply(r, &a, 1, 1, NULL, NULL), 0);
                DeviceState *d = registry_get(r, "a");
                registry_set_posture(r, d, POSTURE_AFFIRMING, "good", 100, 2);
                assert_int_equal(registry_apply(r, &b, 1, 3, NULL, NULL), 0);
                bool kept = what == 3;
                assert_int_equal(d->posture, kept ? POSTURE_AFFIRMING : POSTURE_UNATTESTED);
                assert_int_equal(h.n, kept ? 1 : 2);
                assert_int_equal(d->since, kept ? 2 : 3);
                if (!kept)
                        assert_int_equal(h.old, POSTURE_AFFIRMING);
        }
}

/* What a device may send is its class's, of the configuration in force. */
static void limits_follow_the_class(void **state)
{
        static const Class narrow = { .name = (char *)"meters", .limits.rate = { 1, 2, 1, 100 } };
        static const Class wide = { .name = (char *)"meters", .limits.rate = { 5, 50, 1, 100 } };
        Heard h;
        _cleanup_(registry_freep) Registry *r = new_registry(&h);
        Device before = device("a", "a", 0), after = before;
        before.class = &narrow;
        after.class = &wide;
        assert_int_equal(registry_apply(r, &before, 1, 1, NULL, NULL), 0);
        DeviceState *a = registry_get(r, "a");
        usec_t t = USEC_PER_HOUR;
        assert_true(quota_charge(&a->quota, 1, t) && quota_charge(&a->quota, 1, t));
        assert_false(quota_charge(&a->quota, 1, t));
        assert_int_equal(registry_apply(r, &after, 1, t, NULL, NULL), 0);
        assert_false(quota_charge(&a->quota, 1, t));
        for (unsigned i = 0; i < 5; i++)
                assert_true(quota_charge(&a->quota, 1, t + USEC_PER_SEC));
        assert_false(quota_charge(&a->quota, 1, t + USEC_PER_SEC));
}

static void duplicates_change_nothing(void **state)
{
        Heard h;
        _cleanup_(registry_freep) Registry *r = new_registry(&h);
        Device first[] = { device("a", "a", 0) };
        Device same_name[] = { device("n", "x", 0), device("a", "a", 0), device("a", "b", 0) };
        Device same_certificate[] = { device("n", "x", 0), device("a", "x", 0) };
        Device same_pin[] = { device("a", NULL, 1), device("n", NULL, 1) };
        assert_int_equal(registry_apply(r, first, 1, 1, NULL, NULL), 0);
        DeviceState *a = registry_get(r, "a");
        assert_int_equal(registry_apply(r, same_name, 3, 2, NULL, NULL), -EEXIST);
        assert_int_equal(registry_apply(r, same_certificate, 2, 2, NULL, NULL), -EEXIST);
        assert_int_equal(registry_apply(r, same_pin, 2, 2, NULL, NULL), -EEXIST);
        assert_int_equal(registry_size(r), 1);
        assert_ptr_equal(registry_get(r, "a"), a);
        assert_ptr_equal(a->device, first);
        /* and the next good one is taken as if nothing had been */
        assert_int_equal(registry_apply(r, NULL, 0, 3, NULL, NULL), 0);
        assert_int_equal(registry_size(r), 0);
}

/* What is prepared shows in nothing until it is committed, and what is foreseen comes true. */
static void prepared_and_foreseen(void **state)
{
        Heard h;
        _cleanup_(registry_freep) Registry *r = new_registry(&h);
        Device first[] = { device("a", "a", 0), device("b", "b", 0) };
        Device second[] = { device("c", "c", 0), device("a", "a", 0) };
        DeviceState foreseen[2];
        second[1].class = &cameras;
        assert_int_equal(registry_apply(r, first, 2, 1, NULL, NULL), 0);
        DeviceState *a = registry_get(r, "a");
        registry_set_posture(r, a, POSTURE_AFFIRMING, "good", 100, 2);
        registry_set_quarantine(r, a, true, "operator", 2);
        unsigned heard = h.n;

        assert_int_equal(registry_prepare(r, second, 2, 3), 0);
        for (size_t i = 0; i < 2; i++)
                registry_foresee(r, &second[i], 3, &foreseen[i]);
        assert_ptr_equal(a->device, &first[0]);
        assert_int_equal(registry_size(r), 2);
        assert_null(registry_get(r, "c"));
        registry_cancel(r);
        registry_commit(r, 3, NULL, NULL); /* of nothing */
        assert_int_equal(a->posture, POSTURE_AFFIRMING);
        assert_non_null(registry_get(r, "b"));
        assert_int_equal(h.n, heard);

        n_removed = 0;
        assert_int_equal(registry_prepare(r, second, 2, 3), 0);
        registry_commit(r, 3, on_removed, (char *)"b");
        assert_int_equal(n_removed, 1);
        assert_ptr_equal(registry_get(r, "a"), a);
        for (size_t i = 0; i < 2; i++) {
                const DeviceState *d = registry_get(r, second[i].name);
                assert_ptr_equal(foreseen[i].device, d->device);
                assert_int_equal(foreseen[i].posture, d->posture);
                assert_int_equal(foreseen[i].expires, d->expires);
                assert_int_equal(foreseen[i].since, d->since);
                assert_int_equal(foreseen[i].quarantined, d->quarantined);
                assert_string_equal(foreseen[i].reason, d->reason);
        }
        assert_int_equal(a->posture, POSTURE_UNATTESTED);
        assert_int_equal(registry_prepare(r, first, 2, 4), 0); /* freed with the registry */
}

static IdentifyOutcome identify(const Registry *r, const char *name1, const char *name2,
                                uint8_t key, const char *from, const char **ret_device)
{
        const char *names[] = { name1, name2 };
        uint8_t spki[32];
        DeviceAddress address;
        DeviceState *d = NULL;
        memset(spki, key, sizeof spki);
        if (from)
                assert_int_equal(device_address_parse(from, &address), 0);
        IdentifyOutcome o = registry_identify(r, names,
                                              name2   ? 2
                                              : name1 ? 1
                                                      : 0,
                                              spki, from ? &address : NULL, &d);
        assert_true((o == IDENTIFY_OK) == (d != NULL));
        *ret_device = d ? d->device->name : NULL;
        return o;
}

static void identification(void **state)
{
        Heard h;
        _cleanup_(registry_freep) Registry *r = new_registry(&h);
        Device devices[] = { device("byname", "n.example", 0), device("bypin", NULL, 1),
                             device("both", "both.example", 2), device("placed", "p.example", 0) };
        assert_int_equal(device_address_parse("192.0.2.1", &devices[3].addresses[0]), 0);
        assert_int_equal(device_address_parse("2001:db8::1", &devices[3].addresses[1]), 0);
        devices[3].n_addresses = 2;
        assert_int_equal(registry_apply(r, devices, ELEMENTSOF(devices), 1, NULL, NULL), 0);

        static const struct {
                const char *name1, *name2;
                uint8_t key;
                const char *from;
                IdentifyOutcome outcome;
                const char *device;
        } cases[] = {
                { "n.example", NULL, 9, NULL, IDENTIFY_OK, "byname" },
                { "cn", "n.example", 9, "192.0.2.9", IDENTIFY_OK, "byname" },
                { "N.example", NULL, 9, NULL, IDENTIFY_UNKNOWN, NULL },
                { "byname", NULL, 9, NULL, IDENTIFY_UNKNOWN, NULL }, /* not its certificate's */
                { NULL, NULL, 9, NULL, IDENTIFY_UNKNOWN, NULL },
                { NULL, NULL, 1, NULL, IDENTIFY_OK, "bypin" },
                { "n.example", NULL, 1, NULL, IDENTIFY_OK, "bypin" }, /* a pin decides */
                { "both.example", NULL, 2, NULL, IDENTIFY_OK, "both" },
                { "new-name.example", NULL, 2, NULL, IDENTIFY_OK, "both" },
                { "both.example", NULL, 9, NULL, IDENTIFY_PIN_MISMATCH, NULL },
                { "n.example", "p.example", 9, "192.0.2.1", IDENTIFY_AMBIGUOUS, NULL },
                { "n.example", "n.example", 9, NULL, IDENTIFY_OK, "byname" },
                { "p.example", NULL, 9, "192.0.2.1", IDENTIFY_OK, "placed" },
                { "p.example", NULL, 9, "::ffff:192.0.2.1", IDENTIFY_OK, "placed" },
                { "p.example", NULL, 9, "2001:db8::1", IDENTIFY_OK, "placed" },
                { "p.example", NULL, 9, "192.0.2.2", IDENTIFY_WRONG_PLACE, NULL },
                { "p.example", NULL, 9, NULL, IDENTIFY_WRONG_PLACE, NULL },
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const char *name;
                IdentifyOutcome o = identify(r, cases[i].name1, cases[i].name2, cases[i].key,
                                             cases[i].from, &name);
                assert_string_equal(identify_outcome_to_string(o),
                                    identify_outcome_to_string(cases[i].outcome));
                assert_string_equal(strempty(name), strempty(cases[i].device));
        }
}

static void the_port_hears_changes(void **state)
{
        Heard h;
        _cleanup_(registry_freep) Registry *r = new_registry(&h);
        Device a = device("a", "a", 0);
        assert_int_equal(registry_apply(r, &a, 1, 1, NULL, NULL), 0);
        DeviceState *d = registry_get(r, "a");

        registry_set_posture(r, d, POSTURE_AFFIRMING, "good", 100, 10);
        assert_int_equal(h.n, 1);
        assert_int_equal(h.old, POSTURE_UNATTESTED);
        registry_set_posture(r, d, POSTURE_AFFIRMING, "good", 100, 11);
        assert_int_equal(h.n, 1); /* nothing new */
        registry_set_posture(r, d, POSTURE_AFFIRMING, "good", 200, 12);
        assert_int_equal(h.n, 2); /* renewed */
        assert_int_equal(h.old, POSTURE_AFFIRMING);
        assert_int_equal(d->since, 10);
        registry_set_posture(r, d, POSTURE_AFFIRMING, "better", 200, 13);
        assert_int_equal(h.n, 3);
        registry_set_posture(r, d, POSTURE_CONTRAINDICATED, "bad", 300, 14);
        assert_int_equal(h.n, 4);
        assert_int_equal(d->since, 14);
        assert_true(d->expires == USEC_INFINITY);
}

static void quarantine(void **state)
{
        Heard h;
        _cleanup_(registry_freep) Registry *r = new_registry(&h);
        Device a = device("a", "a", 0);
        assert_int_equal(registry_apply(r, &a, 1, 1, NULL, NULL), 0);
        DeviceState *d = registry_get(r, "a");
        registry_set_posture(r, d, POSTURE_AFFIRMING, "good", 100, 2);
        registry_set_quarantine(r, d, true, "operator", 3);
        assert_int_equal(h.n, 2);
        assert_int_equal(h.old, POSTURE_AFFIRMING);
        assert_int_equal(d->posture, POSTURE_AFFIRMING);
        assert_int_equal(device_state_effective(d), POSTURE_CONTRAINDICATED);
        assert_int_equal(d->quarantined_since, 3);
        registry_set_quarantine(r, d, true, "operator", 4);
        assert_int_equal(h.n, 2);
        registry_set_quarantine(r, d, true, "another reason", 4);
        assert_int_equal(h.n, 3);
        assert_string_equal(d->quarantine_reason, "another reason");
        assert_int_equal(d->quarantined_since, 3);
        registry_set_quarantine(r, d, false, "ignored", 5);
        assert_int_equal(h.n, 4);
        assert_int_equal(h.old, POSTURE_CONTRAINDICATED);
        assert_int_equal(device_state_effective(d), POSTURE_AFFIRMING);
        assert_string_equal(d->quarantine_reason, "");
}

static void expiry(void **state)
{
        Heard h;
        _cleanup_(registry_freep) Registry *r = new_registry(&h);
        Device devices[] = { device("a", "a", 0), device("b", "b", 0), device("c", "c", 0) };
        assert_int_equal(registry_apply(r, devices, 3, 1, NULL, NULL), 0);
        assert_true(registry_expire(r, 2) == USEC_INFINITY);
        registry_set_posture(r, registry_get(r, "a"), POSTURE_AFFIRMING, "good", 100, 2);
        registry_set_posture(r, registry_get(r, "b"), POSTURE_WARNING, "fair", 200, 2);
        registry_set_posture(r, registry_get(r, "c"), POSTURE_CONTRAINDICATED, "bad", 50, 2);
        h.n = 0;
        assert_int_equal(registry_expire(r, 99), 100);
        assert_int_equal(h.n, 0);
        assert_int_equal(registry_expire(r, 100), 200);
        assert_int_equal(h.n, 1);
        assert_string_equal(h.device->device->name, "a");
        assert_int_equal(h.old, POSTURE_AFFIRMING);
        assert_int_equal(h.device->posture, POSTURE_UNATTESTED);
        assert_int_equal(h.device->since, 100);
        assert_true(registry_expire(r, 1000) == USEC_INFINITY);
        /* time does not loosen */
        assert_int_equal(registry_get(r, "c")->posture, POSTURE_CONTRAINDICATED);
}

static void the_port_is_not_entered_twice(void **state)
{
        Heard h;
        _cleanup_(registry_freep) Registry *r = new_registry(&h);
        Device devices[] = { device("a", "a", 0), device("b", "b", 0) };
        assert_int_equal(registry_apply(r, devices, 2, 1, NULL, NULL), 0);
        h.also_quarantine = registry_get(r, "b");
        registry_set_posture(r, registry_get(r, "a"), POSTURE_AFFIRMING, "good", 100, 2);
        assert_int_equal(h.deepest, 1);
        assert_int_equal(h.n, 3); /* a, then b, then a again */
        assert_ptr_equal(h.device, registry_get(r, "a"));
        assert_int_equal(h.old, POSTURE_AFFIRMING);
        assert_int_equal(h.device->posture, POSTURE_WARNING);
}

static void reasons_are_cut_at_a_character(void **state)
{
        Heard h;
        _cleanup_(registry_freep) Registry *r = new_registry(&h);
        Device a = device("a", "a", 0);
        char text[1000] = "";
        assert_int_equal(registry_apply(r, &a, 1, 1, NULL, NULL), 0);
        DeviceState *d = registry_get(r, "a");
        for (size_t i = 0; i < 300; i++)
                strcat(text, "\xe2\x82\xac");
        registry_set_posture(r, d, POSTURE_WARNING, text, 100, 2);
        assert_int_equal(strlen(d->reason), 159);
        assert_true(utf8_valid(bytes_from_str(d->reason)));
        registry_set_posture(r, d, POSTURE_WARNING, text + 1, 100, 2);
        assert_int_equal(strlen(d->reason), 158);
}

static void many(void **state)
{
        enum { N = 10000 };
        Heard h;
        _cleanup_(registry_freep) Registry *r = new_registry(&h);
        Device *devices = calloc(N, sizeof *devices);
        static char names[N][16];
        for (size_t i = 0; i < N; i++) {
                snprintf(names[i], sizeof names[i], "dev-%zu", N - i);
                devices[i] = device(names[i], names[i], 0);
        }
        assert_int_equal(registry_apply(r, devices, N, 1, NULL, NULL), 0);
        assert_int_equal(registry_apply(r, devices, N, 2, NULL, NULL), 0);
        for (size_t i = 1; i < N; i++)
                assert_true(strcmp(registry_at(r, i - 1)->device->name,
                                   registry_at(r, i)->device->name) < 0);
        assert_int_equal(registry_size(r), N);
        free(devices);
}

static void revocation(void **state)
{
        Heard h;
        _cleanup_(registry_freep) Registry *r = new_registry(&h);
        Device a = device("a", "a", 0);
        assert_int_equal(registry_apply(r, &a, 1, 1, NULL, NULL), 0);
        DeviceState *d = registry_get(r, "a");
        registry_set_posture(r, d, POSTURE_AFFIRMING, "good", 1000, 2);
        registry_set_revoked(r, d, true, "its certificate (serial 2) was revoked", 3);
        assert_int_equal(h.n, 2);
        assert_int_equal(device_state_effective(d), POSTURE_CONTRAINDICATED);
        assert_int_equal(d->posture, POSTURE_UNATTESTED);
        assert_int_equal(h.old, POSTURE_AFFIRMING);
        assert_int_equal(d->expires, USEC_INFINITY);
        assert_string_equal(d->reason, "its certificate (serial 2) was revoked");
        assert_string_equal(d->revoked_reason, d->reason);
        assert_int_equal(d->revoked_since, 3);
        registry_set_revoked(r, d, true, "its certificate (serial 2) was revoked", 4);
        assert_int_equal(h.n, 2);
        /* Evidence alone does not open it, and neither does the operator. */
        registry_set_posture(r, d, POSTURE_AFFIRMING, "good", 1000, 5);
        registry_set_quarantine(r, d, true, "operator", 5);
        registry_set_quarantine(r, d, false, "", 6);
        assert_int_equal(device_state_effective(d), POSTURE_CONTRAINDICATED);
        assert_int_equal(registry_apply(r, &a, 1, 7, NULL, NULL), 0);
        assert_true(d->revoked);
        DeviceState foreseen;
        registry_foresee(r, d->device, 7, &foreseen);
        assert_true(foreseen.revoked);
        registry_set_revoked(r, d, false, "ignored", 8);
        assert_int_equal(device_state_effective(d), POSTURE_AFFIRMING);
        assert_string_equal(d->revoked_reason, "");
        assert_int_equal(d->revoked_since, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(order_and_lookup),
                cmocka_unit_test(reload_keeps_state),
                cmocka_unit_test(another_identity_starts_again),
                cmocka_unit_test(limits_follow_the_class),
                cmocka_unit_test(duplicates_change_nothing),
                cmocka_unit_test(prepared_and_foreseen),
                cmocka_unit_test(identification),
                cmocka_unit_test(the_port_hears_changes),
                cmocka_unit_test(quarantine),
                cmocka_unit_test(revocation),
                cmocka_unit_test(expiry),
                cmocka_unit_test(the_port_is_not_entered_twice),
                cmocka_unit_test(reasons_are_cut_at_a_character),
                cmocka_unit_test(many),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
