/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What becomes of devices when trust changes, and lists that somebody fetched. Doors, packet filter
 * and attestation are the test's: they say what they were told. */
#include "../platform/pki.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-event.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/evidence.h"
#include "daemon/gateway.h"
#include "daemon/ingress-coap.h"
#include "daemon/ingress-mqtt.h"
#include "daemon/state-anchor.h"
#include "daemon/trusted.h"

#define NOW now_realtime()

static const long two[] = { 2 };

static struct World {
        Gateway gateway;
        Settings settings;
        PkiCertificate root, other;
        Device devices[2];
        Class class;
        Zone zone;
        unsigned commits, noted, forgotten, ended, ended_open, prepared, tls13;
        const Trust *at_the_doors;
        const Trust *next;
        char reasons[256]; /* REASON= of what was logged */
        unsigned done;
        int error;
        char said[256];
        const char *lists[2];
} w;

int enforcer_commit(Enforcer *e, const char *device)
{
        w.commits++;
        return 0;
}

void state_anchor_note(StateAnchor *a)
{
        w.noted++;
}

void attest_forget(Attest *a, const DeviceState *d)
{
        w.forgotten++;
}

void ingress_mqtt_forget(IngressMqtt *in, DeviceState *d)
{
        w.ended++;
        w.ended_open += !d->revoked; /* its will would be published */
}

void ingress_mqtt_review(IngressMqtt *in, const Trust *trust, usec_t now)
{
        assert_ptr_equal(trust, w.at_the_doors);
}

int ingress_mqtt_prepare(IngressMqtt *in, Trust *trust, bool minimum_tls_1_3, Reason *reason)
{
        w.prepared++;
        w.tls13 = minimum_tls_1_3;
        w.next = trust;
        return 0;
}

void ingress_mqtt_commit(IngressMqtt *in)
{
        w.at_the_doors = w.next;
}

void ingress_mqtt_cancel(IngressMqtt *in)
{
        w.next = NULL;
}

void ingress_coap_forget(IngressCoap *in, DeviceState *d)
{
}

void ingress_coap_review(IngressCoap *in, const Trust *trust, usec_t now)
{
}

void ingress_coap_set_trust(IngressCoap *in, Trust *trust)
{
}

static void on_log(int level, const LogField *fields, const char *message, void *userdata)
{
        size_t len = strlen(w.reasons);
        for (; fields && fields->key; fields++)
                if (streq(fields->key, "REASON") && fields->value)
                        len += (size_t)snprintf(w.reasons + len, sizeof(w.reasons) - len, "%s ",
                                                fields->value);
        print_message("%s\n", message);
}

static void name_lists(const char *a, const char *b)
{
        w.lists[0] = a;
        w.lists[1] = b;
        w.settings.devices_crl = (Words){ (char **)w.lists, (size_t)(!!a + !!b) };
}

static void open_trusted(void)
{
        Reason reason = { "" };
        if (trusted_new(&w.gateway, &reason, &w.gateway.trusted) < 0)
                fail_msg("%s", reason.text);
}

static int setup(void **state)
{
        static char names[2][8] = { "dev1", "dev2" };
        static const RegistryPort port = { 0 };
        memset(&w, 0, sizeof(w));
        w.root = PKI(.name = "root", .ca = true, .key_usage = "critical,keyCertSign,cRLSign");
        w.other = PKI(.name = "other", .ca = true, .key_usage = "critical,keyCertSign,cRLSign");
        w.settings.devices_ca = (char *)PKI_BUNDLE("ca.pem", &w.root);
        w.settings.state_directory = (char *)pki_directory();
        w.gateway.settings = &w.settings;
        for (size_t i = 0; i < 2; i++)
                w.devices[i] = (Device){ .name = names[i], .class = &w.class, .zone = &w.zone };
        assert_int_equal(loop_new(&w.gateway.loop), 0);
        assert_int_equal(registry_new(&port, &w.gateway.registry), 0);
        assert_int_equal(registry_apply(w.gateway.registry, w.devices, 2, 1, NULL, NULL), 0);
        log_set_sink(on_log, NULL);
        return 0;
}

static int teardown(void **state)
{
        trusted_free(w.gateway.trusted);
        registry_free(w.gateway.registry);
        loop_free(w.gateway.loop);
        log_set_sink(NULL, NULL);
        unlink(pki_path(TRUSTED_FETCHED));
        unlink(pki_path(TRUSTED_KEPT));
        pki_done();
        return 0;
}

static void turn(usec_t span)
{
        for (usec_t until = now_boottime() + span; now_boottime() < until;)
                assert_true(sd_event_run(loop_sd_event(w.gateway.loop), USEC_PER_MSEC) >= 0);
}

static DeviceState *device(const char *name)
{
        return registry_get(w.gateway.registry, name);
}

/* The device comes in with a certificate of this serial, and is affirmed. */
static void let_in(const char *name, const PkiCertificate *issuer, long serial)
{
        PeerCertificate c;
        DeviceState *d = device(name);
        PkiCertificate leaf = PKI(.name = name, .issuer = issuer, .serial = serial);
        STACK_OF(X509) *chain = sk_X509_new_null();
        sk_X509_push(chain, leaf.x);
        sk_X509_push(chain, issuer->x);
        assert_int_equal(peer_certificate_read(leaf.x, &c), 0);
        assert_int_equal(peer_chain_read(chain, &c.chain), 0);
        sk_X509_free(chain);
        snprintf(d->certificate_serial, sizeof(d->certificate_serial), "%s", c.serial);
        trusted_note(w.gateway.trusted, d, &c);
        registry_set_posture(w.gateway.registry, d, POSTURE_AFFIRMING, "good", USEC_INFINITY, 2);
}

static int prepare(Reason *reason)
{
        _cleanup_(trust_unrefp) Trust *trust = NULL;
        int r = trusted_load(&w.settings, reason, &trust);
        return r < 0 ? r : trusted_prepare(w.gateway.trusted, &w.settings, trust, reason);
}

static void change(void)
{
        Reason reason = { "" };
        if (prepare(&reason) < 0)
                fail_msg("%s", reason.text);
        trusted_commit(w.gateway.trusted);
}

static const char *list_of(const PkiCertificate *issuer, const char *name)
{
        return pki_write_list(name, PKI_LIST(.signer = issuer, .serials = two, .n = 1), false);
}

static void a_device_is_revoked(void **state)
{
        open_trusted();
        let_in("dev1", &w.root, 2);
        let_in("dev2", &w.root, 3);
        name_lists(list_of(&w.root, "crl.pem"), NULL);
        change();
        DeviceState *d = device("dev1");
        assert_true(d->revoked);
        assert_int_equal(d->posture, POSTURE_UNATTESTED);
        assert_string_equal(d->reason, "its certificate (serial 02) was revoked");
        assert_int_equal(w.forgotten, 1);
        assert_int_equal(w.ended, 1);
        assert_int_equal(w.ended_open, 0);
        assert_int_equal(w.commits, 1);
        assert_string_equal(w.reasons, "certificate-revoked ");
        assert_false(device("dev2")->revoked);
        assert_int_equal(device("dev2")->posture, POSTURE_AFFIRMING);
        /* Said once; and open again only with another certificate. */
        change();
        assert_int_equal(w.commits, 1);
        name_lists(NULL, NULL);
        change();
        assert_true(d->revoked);
        let_in("dev1", &w.root, 4);
        assert_false(d->revoked);
}

/* It was renewed: what it shows counts, not what it showed. */
static void the_old_certificate_is_revoked(void **state)
{
        open_trusted();
        let_in("dev1", &w.root, 2);
        let_in("dev1", &w.root, 5);
        name_lists(list_of(&w.root, "crl.pem"), NULL);
        change();
        assert_false(device("dev1")->revoked);
        assert_int_equal(device("dev1")->posture, POSTURE_AFFIRMING);
        assert_int_equal(w.ended + w.commits, 0);
}

static void an_authority_goes(void **state)
{
        w.settings.devices_ca = (char *)PKI_BUNDLE("both.pem", &w.root, &w.other);
        open_trusted();
        let_in("dev1", &w.root, 2);
        let_in("dev2", &w.other, 2);
        w.settings.devices_ca = (char *)PKI_BUNDLE("other.pem", &w.other);
        change();
        assert_int_equal(device("dev1")->posture, POSTURE_UNATTESTED);
        assert_false(device("dev1")->revoked);
        assert_string_equal(w.reasons, "authority-removed ");
        assert_int_equal(device("dev2")->posture, POSTURE_AFFIRMING);
        assert_int_equal(w.forgotten, 1);
}

static void what_is_cancelled_changes_nothing(void **state)
{
        Reason reason;
        open_trusted();
        Trust *before = trusted_now(w.gateway.trusted);
        let_in("dev1", &w.root, 2);
        name_lists(list_of(&w.root, "crl.pem"), NULL);
        assert_int_equal(prepare(&reason), 0);
        trusted_cancel(w.gateway.trusted);
        trusted_commit(w.gateway.trusted);
        assert_ptr_equal(trusted_now(w.gateway.trusted), before);
        assert_false(device("dev1")->revoked);
        name_lists("/nonexistent.crl", NULL);
        assert_int_equal(prepare(&reason), -ENOENT);
}

static uint64_t generation; /* of what was restored last */

/* What another run of the daemon knows. */
static bool restored(const char *name)
{
        static const RegistryPort port = { 0 };
        _cleanup_(registry_freep) Registry *r = NULL;
        assert_int_equal(registry_new(&port, &r), 0);
        assert_int_equal(registry_apply(r, w.devices, 2, 1, NULL, NULL), 0);
        assert_int_equal(trusted_restore(&w.settings, r, 2, &generation), 0);
        const DeviceState *d = registry_get(r, name);
        assert_true(!d->revoked ||
                    streq(d->revoked_reason, "its certificate (serial 02) was revoked"));
        return d->revoked;
}

static void is_kept_over_a_restart(void **state)
{
        assert_false(restored("dev1"));
        open_trusted();
        let_in("dev1", &w.root, 2);
        name_lists(list_of(&w.root, "crl.pem"), NULL);
        change();
        for (int i = 0; i < 200 && !restored("dev1"); i++)
                turn(5 * USEC_PER_MSEC);
        assert_true(restored("dev1"));
        assert_false(restored("dev2"));
        uint64_t first = generation;
        assert_true(first > 0);
        for (int i = 0; i < 200 && w.noted == 0; i++)
                turn(5 * USEC_PER_MSEC);
        assert_true(w.noted > 0);   /* an older copy is told apart from here on */
        let_in("dev1", &w.root, 4); /* while another is revoked: both are written */
        let_in("dev2", &w.root, 2);
        change();
        w.gateway.trusted = trusted_free(w.gateway.trusted);
        assert_false(restored("dev1"));
        assert_true(restored("dev2"));
        assert_true(generation > first);
}

/* Nothing is noted of what did not reach the disk, and it is tried again at the end. */
static void cannot_be_kept(void **state)
{
        open_trusted();
        assert_int_equal(mkdir(pki_path(TRUSTED_KEPT), 0700), 0);
        let_in("dev1", &w.root, 2);
        name_lists(list_of(&w.root, "crl.pem"), NULL);
        change();
        turn(200 * USEC_PER_MSEC);
        assert_int_equal(w.noted, 0);
        assert_int_equal(w.gateway.revoked_generation, 0);
        assert_int_equal(rmdir(pki_path(TRUSTED_KEPT)), 0);
        w.gateway.trusted = trusted_free(w.gateway.trusted);
        assert_true(restored("dev1"));
        assert_int_equal(generation, 1);
}

static void kept_file_that_is_damaged(void **state)
{
        static const char text[] = "dev1\n\nnobody its certificate\ndev2 \xff\xfe\n dev1 x";
        FILE *f = fopen(pki_path(TRUSTED_KEPT), "w");
        assert_int_equal(fwrite(text, 1, sizeof(text), f), sizeof(text));
        fclose(f);
        assert_false(restored("dev1"));
        assert_false(restored("dev2"));
}

static void overdue_list(void **state)
{
        X509_CRL *crl = PKI_LIST(.signer = &w.root, .from = -7200, .to = -3600);
        name_lists(pki_write_list("crl.pem", crl, false), NULL);
        open_trusted();
        assert_string_equal(w.reasons, "list-overdue ");
        trusted_tick(w.gateway.trusted); /* said once */
        assert_string_equal(w.reasons, "list-overdue ");
}

static void list_becomes_overdue(void **state)
{
        X509_CRL *crl = PKI_LIST(.signer = &w.root, .from = -7200, .to = 2);
        name_lists(pki_write_list("crl.pem", crl, false), NULL);
        open_trusted();
        trusted_tick(w.gateway.trusted);
        assert_string_equal(w.reasons, "");
        turn(2500 * USEC_PER_MSEC);
        trusted_tick(w.gateway.trusted);
        assert_string_equal(w.reasons, "list-overdue ");
}

/* ---- lists that were fetched ---- */

static void on_done(int error, const char *reason, void *userdata)
{
        w.done++;
        w.error = error;
        snprintf(w.said, sizeof(w.said), "%s", reason);
}

static void fetched(const char *path)
{
        w.done = 0;
        assert_int_equal(gateway_trust_changed(&w.gateway, path, on_done, NULL), 0);
        assert_int_equal(w.done, 0); /* never from inside */
        for (int i = 0; i < 500 && w.done == 0; i++)
                turn(5 * USEC_PER_MSEC);
        assert_int_equal(w.done, 1);
}

static void fetched_list(void **state)
{
        struct stat st;
        open_trusted();
        let_in("dev1", &w.root, 2);
        const char *path = list_of(&w.root, "fresh.crl");
        w.settings.mqtt.minimum_tls = TLS_MINIMUM_1_3;
        fetched(path);
        assert_int_equal(w.error, 0);
        assert_true(device("dev1")->revoked);
        assert_int_equal(w.commits, 1);
        assert_true(w.tls13);
        assert_int_equal(stat(path, &st), -1); /* it has taken its place */
        assert_int_equal(stat(pki_path(TRUSTED_FETCHED), &st), 0);
        /* Where a reload and a restart find it. */
        let_in("dev1", &w.root, 4);
        let_in("dev2", &w.root, 2);
        change();
        assert_true(device("dev2")->revoked);
        /* Together with those of the configuration. */
        static const long five[] = { 5 };
        X509_CRL *crl = PKI_LIST(.signer = &w.root, .serials = five, .n = 1);
        name_lists(pki_write_list("crl.pem", crl, false), NULL);
        let_in("dev1", &w.root, 5);
        fetched(list_of(&w.root, "again.crl"));
        assert_true(device("dev1")->revoked);
}

static void bad_fetched_list(void **state)
{
        struct stat st;
        open_trusted();
        Trust *before = trusted_now(w.gateway.trusted);
        const char *path = list_of(&w.other, "fresh.crl");
        fetched(path);
        assert_int_equal(w.error, -EKEYREJECTED);
        assert_non_null(strstr(w.said, "its issuer is not among the authorities"));
        assert_ptr_equal(trusted_now(w.gateway.trusted), before);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(stat(pki_path(TRUSTED_FETCHED), &st), -1);
        assert_string_equal(w.reasons, "list-refused ");
        fetched("/nonexistent.crl");
        assert_int_equal(w.error, -ENOENT);
}

/* It was good once, and somebody shows it again. */
static void older_fetched_list(void **state)
{
        open_trusted();
        let_in("dev1", &w.root, 2);
        fetched(list_of(&w.root, "fresh.crl"));
        assert_true(device("dev1")->revoked);
        Trust *before = trusted_now(w.gateway.trusted);
        X509_CRL *old = PKI_LIST(.signer = &w.root, .from = -7200, .to = 3600);
        fetched(pki_write_list("old.crl", old, false));
        assert_int_equal(w.error, -ESTALE);
        assert_non_null(strstr(w.said, "older than the list that is in force"));
        assert_ptr_equal(trusted_now(w.gateway.trusted), before);
        fetched(list_of(&w.root, "same.crl"));
        assert_int_equal(w.error, 0);
}

/* Somebody shows an old list, or none, of one authority beside a new one of the other. */
static void older_list_of_one(void **state)
{
        open_trusted();
        w.settings.devices_ca = (char *)PKI_BUNDLE("both.pem", &w.root, &w.other);
        change();
        let_in("dev1", &w.root, 2);
        X509_CRL *revoking =
                PKI_LIST(.signer = &w.root, .serials = two, .n = 1, .from = -60, .to = 3600);
        X509_CRL *before = PKI_LIST(.signer = &w.root, .from = -7200, .to = 3600);
        X509_CRL *others = PKI_LIST(.signer = &w.other, .from = -90, .to = 3600);
        X509_CRL *newer = PKI_LIST(.signer = &w.other, .from = -30, .to = 3600);
        fetched(PKI_LISTS("both.crl", revoking, others));
        assert_int_equal(w.error, 0);
        assert_true(device("dev1")->revoked);
        fetched(PKI_LISTS("older.crl", newer, before));
        assert_int_equal(w.error, -ESTALE);
        assert_non_null(strstr(w.said, "older than the list that is in force"));
        fetched(PKI_LISTS("one.crl", newer));
        assert_int_equal(w.error, -ESTALE);
        assert_non_null(strstr(w.said, "lacks a list that is in force"));
        fetched(PKI_LISTS("good.crl", before, newer, revoking));
        assert_int_equal(w.error, 0);
}

/* What the reload brought is not undone by what was read before it. */
static void reload_in_between(void **state)
{
        open_trusted();
        let_in("dev1", &w.root, 2);
        let_in("dev2", &w.root, 5);
        const char *path = list_of(&w.root, "fresh.crl");
        assert_int_equal(gateway_trust_changed(&w.gateway, path, on_done, NULL), 0);
        assert_int_equal(gateway_trust_changed(&w.gateway, path, on_done, NULL), -EBUSY);
        static const long five[] = { 5 };
        X509_CRL *crl = PKI_LIST(.signer = &w.root, .serials = five, .n = 1);
        name_lists(pki_write_list("crl.pem", crl, false), NULL);
        change();
        assert_true(device("dev2")->revoked);
        for (int i = 0; i < 500 && w.done == 0; i++)
                turn(5 * USEC_PER_MSEC);
        assert_int_equal(w.done, 1);
        assert_int_equal(w.error, 0);
        assert_true(device("dev1")->revoked);
        TrustFacts facts;
        trust_facts(trusted_now(w.gateway.trusted), NOW, &facts);
        assert_int_equal(facts.lists, 2);
}

static void end_in_between(void **state)
{
        open_trusted();
        assert_int_equal(
                gateway_trust_changed(&w.gateway, list_of(&w.root, "fresh.crl"), on_done, NULL), 0);
        w.gateway.trusted = trusted_free(w.gateway.trusted);
        turn(100 * USEC_PER_MSEC);
        assert_int_equal(w.done, 0);
}

/* 100,000 entries: the loop goes on meanwhile. */
static usec_t thread_cpu(void)
{
        struct timespec t;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
        return (usec_t)t.tv_sec * USEC_PER_SEC + (usec_t)t.tv_nsec / 1000;
}

static void the_loop_goes_on(void **state)
{
        static long serials[100000];
        for (size_t i = 0; i < ELEMENTSOF(serials); i++)
                serials[i] = (long)(1000 + i);
        open_trusted();
        const char *path = pki_write_list(
                "long.crl", PKI_LIST(.signer = &w.root, .serials = serials, .n = 100000), true);
        usec_t longest = 0, busiest = 0, whole, began = now_boottime();
        assert_int_equal(gateway_trust_changed(&w.gateway, path, on_done, NULL), 0);
        while (w.done == 0) {
                usec_t before = now_boottime(), cpu = thread_cpu();
                sd_event_run(loop_sd_event(w.gateway.loop), USEC_PER_MSEC);
                busiest = MAX(busiest, thread_cpu() - cpu);
                longest = MAX(longest, now_boottime() - before);
        }
        whole = now_boottime() - began;
        print_message("in force after %llu ms, the longest turn took %llu us\n",
                      (unsigned long long)(whole / USEC_PER_MSEC), (unsigned long long)longest);
        assert_int_equal(w.error, 0);
        assert_true(busiest < 20 * USEC_PER_MSEC);
        assert_true(longest < MAX(50 * USEC_PER_MSEC, whole / 3)); /* the machine may be busy */
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(a_device_is_revoked),    TEST(the_old_certificate_is_revoked),
                TEST(an_authority_goes),      TEST(what_is_cancelled_changes_nothing),
                TEST(is_kept_over_a_restart), TEST(kept_file_that_is_damaged),
                TEST(cannot_be_kept),         TEST(overdue_list),
                TEST(list_becomes_overdue),   TEST(fetched_list),
                TEST(bad_fetched_list),       TEST(older_fetched_list),
                TEST(older_list_of_one),      TEST(reload_in_between),
                TEST(end_in_between),         TEST(the_loop_goes_on),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
