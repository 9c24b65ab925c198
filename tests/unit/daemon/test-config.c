/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <syslog.h>

#include "../unit.h"
#include "base/buf.h"
#include "base/str.h"
#include "daemon/config-table.h"
#include "daemon/config.h"

#define MINIMAL "[Devices]\nCA=/ca.pem\n"
#define SITE                                                                                       \
        MINIMAL "[Zone lan]\nInterface=eth1.10\n"                                                  \
                "[Class meters]\nAttestation=psa\n[Class plain]\n"

typedef struct Fixture {
        char folder[64];
        Buf errors;
        unsigned n_errors;
        unsigned keys; /* that are loaded and not freed */
} Fixture;

static Fixture fixture;

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        return remove(path);
}

static int setup(void **state)
{
        fixture = (Fixture){ .folder = "/tmp/sallyport-config-XXXXXX",
                             .errors = BUF_INIT(1024 * 1024) };
        assert_non_null(mkdtemp(fixture.folder));
        return 0;
}

static int teardown(void **state)
{
        nftw(fixture.folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
        buf_done(&fixture.errors);
        assert_int_equal(fixture.keys, 0);
        return 0;
}

static char *path_of(const char *name, char ret[static 256])
{
        snprintf(ret, 256, "%s/%s", fixture.folder, name);
        return ret;
}

static void put_bytes(const char *name, Bytes content)
{
        char path[256];
        char *slash = strrchr(path_of(name, path) + strlen(fixture.folder) + 1, '/');
        if (slash) {
                *slash = '\0';
                mkdir(path, 0755);
                *slash = '/';
        }
        FILE *f = fopen(path, "we");
        assert_non_null(f);
        assert_int_equal(fwrite(content.data, 1, content.len, f), content.len);
        fclose(f);
        chmod(path, 0644);
}

static void put(const char *name, const char *content)
{
        put_bytes(name, bytes_from_str(content));
}

static void report(const char *message, void *userdata)
{
        const char *below = startswith(message, fixture.folder);
        fixture.n_errors++;
        if (buf_printf(&fixture.errors, "%s\n", below ? below : message) < 0)
                fail();
}

/* A key is its path; "/bad" is none. */
static int load_key(const char *path, void **ret, uint8_t ret_sha256[static 32], void *userdata)
{
        if (streq(path, "/bad"))
                return -EBADMSG;
        if (streq(path, "/none"))
                return -ENOENT;
        memset(ret_sha256, 0, 32);
        memcpy(ret_sha256, path, MIN(strlen(path), (size_t)32));
        *ret = strdup(path);
        fixture.keys++;
        return 0;
}

static void free_key(void *key)
{
        fixture.keys--;
        free(key);
}

static int load(Settings **ret)
{
        static const ConfigKeyLoader loader = { load_key, free_key, NULL };
        buf_clear(&fixture.errors);
        fixture.n_errors = 0;
        return config_load(fixture.folder, &loader, report, NULL, ret);
}

static Settings *good(void)
{
        Settings *s = NULL;
        int r = load(&s);
        if (r < 0)
                print_error("%.*s", (int)buf_len(&fixture.errors),
                            (const char *)buf_view(&fixture.errors).data);
        assert_int_equal(r, 0);
        return s;
}

/* Loading fails with these messages, and these alone. */
static void assert_errors(const char *expected)
{
        Settings *s = NULL;
        assert_int_equal(load(&s), -EINVAL);
        assert_null(s);
        assert_int_equal(buf_append_u8(&fixture.errors, 0), 0);
        assert_string_equal((const char *)buf_view(&fixture.errors).data, expected);
}

static void defaults(void **state)
{
        put("sallyport.conf", MINIMAL);
        _cleanup_(settings_freep) Settings *s = good();
        assert_int_equal(s->log_level, LOG_INFO);
        assert_string_equal(s->tcti, "device:/dev/tpmrm0");
        assert_int_equal(s->pcrs, 1 << 0 | 1 << 2 | 1 << 4 | 1 << 7);
        assert_int_equal(s->tls_key, TLS_KEY_AUTO);
        assert_int_equal(s->mqtt.minimum_tls, TLS_MINIMUM_1_3);
        assert_int_equal(s->mqtt.maximum_packet_size, 256 * 1024);
        assert_int_equal(s->mqtt.maximum_connections, 2048);
        assert_true(s->mqtt.keep_alive == 20 * USEC_PER_MIN);
        assert_int_equal(s->mqtt.passwords, PASSWORDS_REFUSE);
        assert_int_equal(s->mqtt.listen.n, 1);
        assert_true(s->mqtt.listen.addresses[0].any);
        const struct sockaddr_in6 *in6 =
                (const struct sockaddr_in6 *)&s->mqtt.listen.addresses[0].address;
        assert_int_equal(in6->sin6_family, AF_INET6);
        assert_int_equal(ntohs(in6->sin6_port), 8883);
        in6 = (const struct sockaddr_in6 *)&s->coap.listen.addresses[0].address;
        assert_int_equal(ntohs(in6->sin6_port), 5684);
        assert_string_equal(s->devices_ca, "/ca.pem");
        assert_null(s->upstream.host);
        assert_string_equal(s->upstream.topic_prefix, "sallyport");
        assert_int_equal(s->upstream.window, 500);
        assert_int_equal(s->store_maximum_size, 1u << 30);
        assert_true(s->nonce_lifetime == 2 * USEC_PER_MIN);
        assert_false(s->egress_masquerade);
        assert_int_equal(s->n_devices, 0);
        assert_non_null(s->name);
        assert_int_equal(s->names.n, 1);
}

static void everything(void **state)
{
        put("sallyport.conf",
            "[Gateway]\nName=gw1\nLogLevel=debug\nStateDirectory=/s\n"
            "[TPM]\nTCTI=swtpm:port=2321\nPCRs=0 23\n"
            "[Identity]\nTLSKey=minted\nLeafLifetime=2h\nNames=gw.example 192.0.2.1\n"
            "[Enrollment]\nServer=https://est.example:8443\nCA=/est.pem\nLabel=plant\n"
            "UserFile=/est.user\nRenewAt=50\n"
            "[MQTT]\nListen=192.0.2.1:8883\nListen=[2001:db8::1]:1\nMinimumTLS=1.2\n"
            "MaximumPacketSize=1M\nMaximumConnections=5\nKeepAlive=1min 30s\n"
            "Passwords=ignore\n[CoAP]\nListen=\nMaximumSessions=7\n"
            "[Devices]\nCA=/ca.pem\nCRL=/a.crl /b.crl\nCRL=/c.der\n"
            "[Upstream]\nAddress=up.example:1883\nCA=/up.pem\nTopicPrefix=site/hall\nKeepAlive=30\n"
            "Window=3\n"
            "[Store]\nMaximumSize=32M\n"
            "[Attestation]\nReferenceValues=/a /b\nReferenceValues=/c\nNonceLifetime=30s\n"
            "[Egress]\nUplink=eth0\nMasquerade=yes\n"
            "[Zone b]\nInterface=eth1.20\n"
            "[Zone a]\nInterface=eth1.10\nServices=dhcp dns\nServices=ping\n"
            "[Class c]\nAttestation=psa\nVerdictLifetime=5min\n"
            "Egress=tcp:203.0.113.10:443 \\\n  udp:[2001:db8::/32]:5000-5100\n"
            "EgressWarning=tcp:198.51.100.0/24:443\n");
        put("devices.d/dev1.conf",
            "[Device]\nZone=a\nClass=c\nCertificateName=dev1.example\n"
            "CertificateSPKI=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"
            "HardwareAddress=02:00:5e:10:00:01\nAddress=192.0.2.7 2001:db8::7\n"
            "InstanceID=01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\n"
            "AttestationKey=/iak.pem\nPSAClientIDs=-7 1\nPSAClientIDs=-2147483648 2147483647\n");
        /* Its key may come with the reference values. */
        put("devices.d/dev2.conf",
            "[Device]\nZone=a\nClass=c\nCertificateName=dev2.example\n"
            "InstanceID=01eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\n");
        _cleanup_(settings_freep) Settings *s = good();
        assert_string_equal(s->name, "gw1");
        assert_int_equal(s->log_level, LOG_DEBUG);
        assert_int_equal(s->pcrs, 1u | 1u << 23);
        assert_int_equal(s->tls_key, TLS_KEY_MINTED);
        assert_true(s->leaf_lifetime == 2 * USEC_PER_HOUR);
        assert_int_equal(s->names.n, 2);
        assert_string_equal(s->names.words[1], "192.0.2.1");
        assert_null(s->names.words[2]);
        assert_string_equal(s->enrollment.server, "https://est.example:8443");
        assert_string_equal(s->enrollment.ca, "/est.pem");
        assert_string_equal(s->enrollment.label, "plant");
        assert_string_equal(s->enrollment.user_file, "/est.user");
        assert_int_equal(s->enrollment.renew_at, 50);
        assert_int_equal(s->mqtt.listen.n, 2);
        assert_int_equal(s->mqtt.listen.addresses[0].address.ss_family, AF_INET);
        assert_int_equal(s->mqtt.listen.addresses[1].address.ss_family, AF_INET6);
        assert_false(s->mqtt.listen.addresses[0].any);
        assert_int_equal(s->mqtt.minimum_tls, TLS_MINIMUM_1_2);
        assert_true(s->mqtt.keep_alive == 90 * USEC_PER_SEC);
        assert_int_equal(s->mqtt.passwords, PASSWORDS_IGNORE);
        assert_int_equal(s->coap.listen.n, 0);
        assert_int_equal(s->devices_crl.n, 3);
        assert_string_equal(s->devices_crl.words[2], "/c.der");
        assert_string_equal(s->upstream.host, "up.example");
        assert_int_equal(s->upstream.port, 1883);
        assert_string_equal(s->upstream.server_name, "up.example");
        assert_string_equal(s->upstream.client_id, "gw1");
        assert_int_equal(s->reference_values.n, 3);
        assert_string_equal(s->reference_values.words[2], "/c");
        assert_true(s->egress_masquerade);

        assert_int_equal(s->n_zones, 2);
        assert_string_equal(s->zones[0].name, "a");
        const Zone *zone = settings_zone(s, "a");
        assert_ptr_equal(zone, &s->zones[0]);
        assert_int_equal(zone->services, ZONE_SERVICE_DHCP | ZONE_SERVICE_DNS | ZONE_SERVICE_PING);
        assert_null(settings_zone(s, "c"));
        const Class *class = settings_class(s, "c");
        assert_int_equal(class->attestation, ATTESTATION_PSA);
        assert_int_equal(class->egress[POSTURE_AFFIRMING].n_rules, 2);
        assert_int_equal(class->egress[POSTURE_WARNING].n_rules, 1);
        assert_int_equal(class->egress[POSTURE_UNATTESTED].n_rules, 0);

        const Device *d = settings_device(s, "dev1");
        assert_non_null(d);
        assert_ptr_equal(d->zone, zone);
        assert_ptr_equal(d->class, class);
        assert_string_equal(d->certificate_name, "dev1.example");
        assert_true(d->spki_pinned);
        assert_int_equal(d->spki_sha256[31], 0x1f);
        assert_memory_equal(d->hardware_address, "\x02\x00\x5e\x10\x00\x01", 6);
        assert_int_equal(d->n_addresses, 2);
        assert_true(d->has_instance_id);
        assert_string_equal(d->attestation_key, "/iak.pem");
        assert_memory_equal(d->attestation_key_sha256, "/iak.pem", 8);
        assert_int_equal(d->n_psa_client_ids, 4);
        assert_int_equal(d->psa_client_ids[0], -7);
        assert_int_equal(d->psa_client_ids[1], 1);
        assert_int_equal(d->psa_client_ids[2], INT32_MIN);
        assert_int_equal(d->psa_client_ids[3], INT32_MAX);
        assert_string_equal(d->origin, "devices.d/dev1.conf");
        assert_int_equal(settings_device(s, "dev2")->n_psa_client_ids, 0);
}

static void telemetry_by_default(void **state)
{
        put("sallyport.conf", SITE "[Class own]\nTelemetry=unattested\n[Class mute]\nTelemetry=\n");
        _cleanup_(settings_freep) Settings *s = good();
        unsigned u = 1 << POSTURE_UNATTESTED, a = 1 << POSTURE_AFFIRMING, w = 1 << POSTURE_WARNING;
        assert_int_equal(settings_class(s, "meters")->telemetry, a | w);
        assert_int_equal(settings_class(s, "plain")->telemetry, u | a | w);
        assert_int_equal(settings_class(s, "own")->telemetry, u);
        assert_int_equal(settings_class(s, "mute")->telemetry, 0);
}

static void class_limits(void **state)
{
        put("sallyport.conf", SITE "[Class own]\nMessagesPerSecond=3\nBytesPerSecond=2K\n"
                                   "MaximumSessions=64\nMaximumSubscriptions=1\n"
                                   "RetainedBytes=0\nQueueBytes=1G\n");
        _cleanup_(settings_freep) Settings *s = good();
        const ClassLimits *l = &settings_class(s, "plain")->limits;
        assert_int_equal(l->rate.messages_per_second, 200);
        assert_int_equal(l->rate.messages_burst, 2000);
        assert_int_equal(l->rate.bytes_per_second, 1024 * 1024);
        assert_int_equal(l->rate.bytes_burst, 8 * 1024 * 1024);
        assert_int_equal(l->sessions, 8);
        assert_int_equal(l->subscriptions, 32);
        assert_int_equal(l->retained_bytes, 256 * 1024);
        assert_int_equal(l->queue_bytes, 1024 * 1024);
        l = &settings_class(s, "own")->limits;
        assert_int_equal(l->rate.messages_per_second, 3);
        assert_int_equal(l->rate.messages_burst, 30);
        assert_int_equal(l->rate.bytes_per_second, 2048);
        assert_int_equal(l->rate.bytes_burst, 8 * 2048);
        assert_int_equal(l->sessions, 64);
        assert_int_equal(l->subscriptions, 1);
        assert_int_equal(l->retained_bytes, 0);
        assert_int_equal(l->queue_bytes, 1u << 30);
        put("sallyport.conf", MINIMAL "[Class c]\nMessagesPerSecond=0\nBytesPerSecond=1023\n"
                                      "MaximumSessions=65\nMaximumSubscriptions=0\n");
        assert_errors("/sallyport.conf:4: Class c/MessagesPerSecond: out of range: \"0\", expected "
                      "a number, 1 to 1000000\n"
                      "/sallyport.conf:5: Class c/BytesPerSecond: out of range: \"1023\", expected "
                      "a size such as 4096, 64K or 16M, 1K to 1G\n"
                      "/sallyport.conf:6: Class c/MaximumSessions: out of range: \"65\", expected "
                      "a number, 1 to 64\n"
                      "/sallyport.conf:7: Class c/MaximumSubscriptions: out of range: \"0\", "
                      "expected a number, 1 to 64\n");
}

static void passwords(void **state)
{
        put("sallyport.conf", MINIMAL "[MQTT]\nPasswords=accept\n");
        assert_errors("/sallyport.conf:4: MQTT/Passwords: not understood: \"accept\", expected "
                      "refuse or ignore\n");
}

static void class_lists(void **state)
{
        put("sallyport.conf", SITE "[Class own]\nPublish=hall/%d/# +/temp\nPublish=dev2/cmd/#\n"
                                   "Subscribe=#\nClientIds=%d %z:*\n[Class none]\n"
                                   "Publish=a\nPublish=\nClientIds=\n");
        put("sallyport.conf.d/a.conf", "[Class own]\nSubscribe=\nSubscribe=b\n");
        _cleanup_(settings_freep) Settings *s = good();
        const Class *c = settings_class(s, "plain");
        assert_int_equal(c->publish.n + c->subscribe.n, 0);
        assert_int_equal(c->client_ids.n, 1);
        assert_string_equal(c->client_ids.words[0], "%d");
        c = settings_class(s, "own");
        assert_int_equal(c->publish.n, 3);
        assert_string_equal(c->publish.words[1], "+/temp");
        assert_string_equal(c->publish.words[2], "dev2/cmd/#");
        assert_int_equal(c->subscribe.n, 1);
        assert_string_equal(c->subscribe.words[0], "b");
        assert_int_equal(c->client_ids.n, 2);
        assert_string_equal(c->client_ids.words[1], "%z:*");
        c = settings_class(s, "none");
        assert_int_equal(c->publish.n + c->client_ids.n, 0);
}

#define FILTERS                                                                                    \
        "expected at most 16 topic filters such as hall/+/temp or %z/%d/#, none below cmd, "       \
        "gateway, rats or $\n"

static void class_lists_that_are_wrong(void **state)
{
        static const char *const wrong[] = { "a/#/b",      "$share/g/a", "rats/#", "gateway/x",
                                             "cmd/reboot", "$SYS/#",     "a/%x",   "fine a+" };
        Buf text = BUF_INIT(16384), expected = BUF_INIT(16384);
        assert_int_equal(buf_append_str(&text, MINIMAL "[Class c]\n"), 0);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                const char *key = i % 2 ? "Publish" : "Subscribe";
                assert_int_equal(buf_printf(&text, "%s=%s\n", key, wrong[i]), 0);
                assert_int_equal(buf_printf(&expected,
                                            "/sallyport.conf:%zu: Class c/%s: not understood: "
                                            "\"%s\", %s",
                                            i + 4, key, wrong[i], FILTERS),
                                 0);
        }
        assert_int_equal(buf_append_str(&text, "Publish=1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"
                                               "Publish=17\nClientIds=%d %x\n"),
                         0);
        assert_int_equal(buf_append_str(&expected,
                                        "/sallyport.conf:13: Class c/Publish: out of range: "
                                        "\"17\", " FILTERS
                                        "/sallyport.conf:14: Class c/ClientIds: not understood: "
                                        "\"%d %x\", expected at most 16 patterns such as %d or "
                                        "%d-*\n"),
                         0);
        assert_int_equal(buf_append_u8(&expected, 0), 0);
        put_bytes("sallyport.conf", buf_view(&text));
        assert_errors((const char *)buf_view(&expected).data);
        buf_done(&text);
        buf_done(&expected);
}

static void dropins(void **state)
{
        put("sallyport.conf",
            SITE "[MQTT]\nListen=1\nListen=2\nMaximumConnections=5\nKeepAlive=1h\n");
        put("sallyport.conf.d/20.conf", "[MQTT]\nListen=\nListen=3\nKeepAlive=\n"
                                        "[Class meters]\nVerdictLifetime=5min\n");
        put("sallyport.conf.d/10.conf", "[MQTT]\nListen=4\nMaximumConnections=6\n");
        put("sallyport.conf.d/30.conf.dpkg-old", "nonsense\n");
        put("sallyport.conf.d/.40.conf", "nonsense\n");
        _cleanup_(settings_freep) Settings *s = good();
        assert_int_equal(s->mqtt.listen.n, 1);
        assert_int_equal(
                ntohs(((struct sockaddr_in6 *)&s->mqtt.listen.addresses[0].address)->sin6_port), 3);
        assert_int_equal(s->mqtt.maximum_connections, 6);
        assert_true(s->mqtt.keep_alive == 20 * USEC_PER_MIN);
        assert_true(settings_class(s, "meters")->verdict_lifetime == 5 * USEC_PER_MIN);
}

static void enrollment(void **state)
{
        put("sallyport.conf", MINIMAL "[Enrollment]\nServer=http://est.example\n"
                                      "Server=https://\nServer=https://a@b\nServer=https://a/b\n"
                                      "Label=a/b\nLabel=..\nRenewAt=99\n"
                                      "Server=https://[2001:db8::1]:8443/\n");
        assert_errors("/sallyport.conf:4: Enrollment/Server: not understood: "
                      "\"http://est.example\", expected https://HOST or https://HOST:PORT\n"
                      "/sallyport.conf:5: Enrollment/Server: not understood: \"https://\", "
                      "expected https://HOST or https://HOST:PORT\n"
                      "/sallyport.conf:6: Enrollment/Server: not understood: \"https://a@b\", "
                      "expected https://HOST or https://HOST:PORT\n"
                      "/sallyport.conf:7: Enrollment/Server: not understood: \"https://a/b\", "
                      "expected https://HOST or https://HOST:PORT\n"
                      "/sallyport.conf:8: Enrollment/Label: not understood: \"a/b\", expected a "
                      "word of 1 to 64 letters, digits, '.', '_' and '-'\n"
                      "/sallyport.conf:9: Enrollment/Label: not understood: \"..\", expected a "
                      "word of 1 to 64 letters, digits, '.', '_' and '-'\n"
                      "/sallyport.conf:10: Enrollment/RenewAt: out of range: \"99\", expected a "
                      "number, 10 to 95\n"
                      "/sallyport.conf:3: Enrollment/CA: not set, but Server= is: name the PEM "
                      "file with the EST server's CA\n");
}

/* All that is wrong is said at once, each with its place. */
static void all_errors_at_once(void **state)
{
        put("sallyport.conf",
            "Stray=1\n"
            "[MQT]\nListen=1\n"
            "[MQTT]\nListen=99999\nMaxPacketSize=1\nMaximumPacketSize=1\nKeepAlive=1.5h\nWhat\n"
            "[Zone a]\n[Zone a]\nInterface=x\n[Zone b/c]\nInterface=y\n[Zone]\n"
            "[Class c]\nEgress=tcp:203.0.113.10/24:443\nTelemetry=affirmed\n[TPM] x\nTCTI=y\n");
        assert_errors(
                "/sallyport.conf:1: Stray= stands in front of any section\n"
                "/sallyport.conf:2: unknown section [MQT], did you mean [MQTT]?\n"
                "/sallyport.conf:5: MQTT/Listen: not understood: \"99999\", expected PORT, "
                "ADDRESS:PORT or [IPV6]:PORT\n"
                "/sallyport.conf:6: MQTT: unknown key \"MaxPacketSize\", did you mean "
                "MaximumPacketSize=?\n"
                "/sallyport.conf:7: MQTT/MaximumPacketSize: out of range: \"1\", expected a size "
                "such as 4096, 64K or 16M, 1K to 4M\n"
                "/sallyport.conf:8: MQTT/KeepAlive: not understood: \"1.5h\", expected a time span "
                "of whole seconds such as 90s or 15min, 10s to 18h 12min\n"
                "/sallyport.conf:9: wrong line: expected [Section], Key=value or a comment\n"
                "/sallyport.conf:11: Zone a: it is there already, in line 10\n"
                "/sallyport.conf:13: [Zone b/c]: expected a name of 1 to 64 letters, digits, '.', "
                "'_' and '-', the first a letter or digit, other than gateway, rats and cmd\n"
                "/sallyport.conf:15: [Zone ]: expected a name of 1 to 64 letters, digits, '.', '_' "
                "and '-', the first a letter or digit, other than gateway, rats and cmd\n"
                "/sallyport.conf:17: Class c/Egress: not understood: "
                "\"tcp:203.0.113.10/24:443\", expected PROTOCOL:NETWORK:PORTS such as "
                "tcp:203.0.113.10:443 or udp:[2001:db8::/32]:5000-5100\n"
                "/sallyport.conf:18: Class c/Telemetry: not understood: \"affirmed\", expected "
                "words out of unattested, affirming, warning and contraindicated\n"
                "/sallyport.conf:19: wrong line: a section heading ends with ']'\n"
                "/sallyport.conf:10: Zone a/Interface: not set\n");
}

static void what_does_not_fit_together(void **state)
{
        put("sallyport.conf", SITE "[Zone other]\nInterface=eth1.10\n[Zone none]\n"
                                   "[Egress]\nUplink=eth1.10\n[Upstream]\nAddress=up\n"
                                   "[Class plain2]\nEgress=tcp:0.0.0.0/0:443\n"
                                   "[MQTT]\nListen=\n[CoAP]\nListen=\n[TPM]\nPCRs=\n");
        assert_errors(
                "/sallyport.conf:13: Upstream/CA: not set, but Address= is: name the PEM file with "
                "the upstream's CA\n"
                "/sallyport.conf:18: MQTT/Listen: empty here and in [CoAP]: no device could "
                "connect\n"
                "/sallyport.conf:4: Zone lan/Interface: eth1.10 is an uplink in [Egress] as well\n"
                "/sallyport.conf:10: Zone none/Interface: not set\n"
                "/sallyport.conf:9: Zone other/Interface: the same as that of lan in "
                "sallyport.conf:4\n"
                "/sallyport.conf:9: Zone other/Interface: eth1.10 is an uplink in [Egress] as "
                "well\n"
                "/sallyport.conf:16: Class plain2/Egress: never holds with Attestation=none, "
                "EgressUnattested= would\n");
}

/* Every packet that a device may send has to have room in the store. */
static void packets_fit_the_store(void **state)
{
        put("sallyport.conf", MINIMAL "[MQTT]\nMaximumPacketSize=510K\n[Store]\nMaximumSize=8M\n");
        settings_free(good());
        put("sallyport.conf", MINIMAL "[MQTT]\nMaximumPacketSize=4M\n");
        settings_free(good());
        put("sallyport.conf", MINIMAL "[MQTT]\nMaximumPacketSize=1M\n[Store]\nMaximumSize=16M\n");
        assert_errors(
                "/sallyport.conf:4: MQTT/MaximumPacketSize: too large for the store: with its "
                "MaximumSize= a message may have 1046528 bytes\n");
        /* a topic for which the packet had an alias has to fit, too */
        put("sallyport.conf", MINIMAL "[MQTT]\nMaximumPacketSize=511K\n[Store]\nMaximumSize=8M\n");
        assert_errors(
                "/sallyport.conf:4: MQTT/MaximumPacketSize: too large for the store: with its "
                "MaximumSize= a message may have 522240 bytes\n");
        put("sallyport.conf", MINIMAL "[Store]\nMaximumSize=4M\n");
        assert_errors("/sallyport.conf:4: Store/MaximumSize: out of range: \"4M\", expected a size "
                      "such as 4096, 64K or 16M, 8M to 1T\n");
}

/* A host without a name gives none to the gateway. */
static void host_without_name(void **state)
{
        char host[HOST_NAME_MAX + 1] = "";
        if (unshare(CLONE_NEWUTS) < 0 || gethostname(host, HOST_NAME_MAX) < 0 ||
            sethostname("", 0) < 0)
                skip();
        put("sallyport.conf", MINIMAL);
        assert_errors(": Gateway/Name: not set, and the host name \"\" cannot stand in its place\n"
                      ": Identity/Names: not set, and the host name \"\" cannot stand in its "
                      "place\n");
        assert_int_equal(sethostname(host, strlen(host)), 0);
}

static void device_errors(void **state)
{
        put("sallyport.conf", SITE);
        put("devices.d/a.conf", "[Device]\nZone=wan\nClass=meter\nCertificateName=x\n");
        put("devices.d/b.conf", "[Device]\n");
        put("devices.d/c.conf", "[Device]\nZone=lan\nClass=meters\nCertificateName=c\n"
                                "InstanceID=01ffffffffffffffffffffffffffffffffffffffffffffffff"
                                "ffffffffffffffff\n");
        put("devices.d/d.conf", "[Device]\nZone=lan\nClass=meters\nCertificateName=d\n"
                                "AttestationKey=/bad\n");
        put("devices.d/e.conf", "[Zone x]\nInterface=y\n[Device]\nZone=lan\nClass=plain\n"
                                "CertificateSPKI=00\nHardwareAddress=ff:ff:ff:ff:ff:ff\n"
                                "Address=224.0.0.1\nPSAClientIDs=1 0\nPSAClientIDs=--1\n"
                                "PSAClientIDs=2147483648\nPSAClientIDs=1 2 3 4 5 6 7 8 9\n");
        put("devices.d/f.conf", "[Device]\nZone=lan\nClass=plain\nCertificateName=f\n"
                                "ClientIDs=1\n");
        put("devices.d/rats.conf", "[Device]\n");
        put("devices.d/a b.conf", "[Device]\n");
        static const char name[] = "the file's name is not that of a device: expected 1 to 64 "
                                   "letters, digits, '.', '_' and '-', the first a letter or "
                                   "digit, other than gateway, rats and "
                                   "cmd\n";
        char expected[8192];
        snprintf(
                expected, sizeof expected,
                "/devices.d/a b.conf: %s"
                "/devices.d/e.conf:1: unknown section [Zone x], expected [Device] alone\n"
                "/devices.d/e.conf:6: Device/CertificateSPKI: not understood: \"00\", expected a "
                "SHA-256 in 64 hexadecimal digits\n"
                "/devices.d/e.conf:7: Device/HardwareAddress: not understood: "
                "\"ff:ff:ff:ff:ff:ff\", expected the address of one device such as "
                "02:00:5e:10:00:01\n"
                "/devices.d/e.conf:8: Device/Address: not understood: \"224.0.0.1\", expected at "
                "most 8 IPv4 or IPv6 addresses\n"
                "/devices.d/e.conf:9: Device/PSAClientIDs: not understood: \"1 0\", expected at "
                "most "
                "8 integers other than 0, of 32 bits\n"
                "/devices.d/e.conf:10: Device/PSAClientIDs: not understood: \"--1\", expected at "
                "most 8 integers other than 0, of 32 bits\n"
                "/devices.d/e.conf:11: Device/PSAClientIDs: not understood: \"2147483648\", "
                "expected "
                "at most 8 integers other than 0, of 32 bits\n"
                "/devices.d/e.conf:12: Device/PSAClientIDs: out of range: \"1 2 3 4 5 6 7 8 9\", "
                "expected at most 8 integers other than 0, of 32 bits\n"
                "/devices.d/f.conf:5: Device: unknown key \"ClientIDs\", did you mean "
                "PSAClientIDs=?\n"
                "/devices.d/rats.conf: %s"
                "/devices.d/a.conf:2: Device/Zone: there is no [Zone wan]\n"
                "/devices.d/a.conf:3: Device/Class: there is no [Class meter]\n"
                "/devices.d/b.conf: Device/Zone: not set\n"
                "/devices.d/b.conf: Device/Class: not set\n"
                "/devices.d/b.conf: Device/CertificateName: not set, and neither is "
                "CertificateSPKI=\n"
                "/devices.d/c.conf: Device/AttestationKey: not set, but InstanceID= is\n"
                "/devices.d/d.conf:5: Device/AttestationKey: /bad: holds no key of P-256, P-384 or "
                "P-521\n"
                "/devices.d/d.conf: Device/InstanceID: not set, but AttestationKey= is\n"
                "/devices.d/e.conf: Device/CertificateName: not set, and neither is "
                "CertificateSPKI=\n",
                name, name);
        assert_errors(expected);
}

/* No two devices have the same of anything that one of them is known by. */
static void duplicates(void **state)
{
        static const char *const lines[] = {
                "CertificateName=same",
                "CertificateSPKI=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
                "HardwareAddress=02:00:5e:10:00:01",
                "Address=192.0.2.1",
                "InstanceID=01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
                "AttestationKey=/same",
        };
        put("sallyport.conf", SITE);
        for (size_t i = 0; i < ELEMENTSOF(lines); i++) {
                char text[1024], expected[256];
                for (int n = 1; n <= 2; n++) {
                        char own_id[67], name[32];
                        snprintf(own_id, sizeof own_id, "01%064d", n);
                        snprintf(name, sizeof name, "devices.d/d%d.conf", n);
                        snprintf(text, sizeof text,
                                 "[Device]\nZone=lan\nClass=meters\n%s\n%s%d\n%s%s\n%s%d\n",
                                 lines[i], i == 0 ? "#" : "CertificateName=", n,
                                 i == 4 ? "#" : "InstanceID=", own_id,
                                 i == 5 ? "#" : "AttestationKey=/", n);
                        put(name, text);
                }
                snprintf(expected, sizeof expected,
                         "/devices.d/d2.conf:4: Device/%.*s: the same as that of d1 in "
                         "devices.d/d1.conf:4\n",
                         (int)strcspn(lines[i], "="), lines[i]);
                assert_errors(expected);
        }
}

static void files_that_are_not_trusted(void **state)
{
        char path[256], target[256];
        put("sallyport.conf", SITE);
        put("sallyport.conf.d/a.conf", "[MQTT]\nMaximumConnections=1\n");
        chmod(path_of("sallyport.conf.d/a.conf", path), 0666);
        assert_int_equal(mkfifo(path_of("sallyport.conf.d/b.conf", path), 0644), 0);
        assert_int_equal(symlink(path_of("sallyport.conf", target),
                                 path_of("sallyport.conf.d/c.conf", path)),
                         0);
        assert_int_equal(mkdir(path_of("sallyport.conf.d/d.conf", path), 0755), 0);
        chmod(path_of("sallyport.conf.d", path), 0777);
        assert_errors("/sallyport.conf.d: everybody may write to it (chmod o-w)\n"
                      "/sallyport.conf.d/a.conf: everybody may write to it (chmod o-w)\n"
                      "/sallyport.conf.d/b.conf: not a regular file\n"
                      "/sallyport.conf.d/c.conf: is a symbolic link, which is not followed\n"
                      "/sallyport.conf.d/d.conf: not a regular file\n");
}

static void no_file(void **state)
{
        assert_errors("/sallyport.conf: No such file or directory\n");
}

static void large_file(void **state)
{
        size_t len = CONFIG_FILE_MAX + 1;
        char *text = malloc(len);
        assert_non_null(text);
        memset(text, '\n', len);
        memcpy(text, MINIMAL, strlen(MINIMAL));
        put_bytes("sallyport.conf", BYTES(text, len - 1));
        settings_free(good());
        put_bytes("sallyport.conf", BYTES(text, len));
        free(text);
        Settings *s = NULL;
        assert_int_equal(load(&s), -EINVAL);
        assert_non_null(strstr((const char *)buf_view(&fixture.errors).data, "larger than 1 MiB"));
}

/* A file full of errors does not flood the log. */
static void many_errors(void **state)
{
        Buf text = BUF_INIT(CONFIG_FILE_MAX);
        assert_int_equal(buf_append_str(&text, SITE), 0);
        for (unsigned i = 0; i < 50000; i++)
                assert_int_equal(buf_append_str(&text, "wrong\n"), 0);
        put_bytes("sallyport.conf", buf_view(&text));
        buf_done(&text);
        Settings *s = NULL;
        assert_int_equal(load(&s), -EINVAL);
        assert_int_equal(fixture.n_errors, CONFIG_ERRORS_MAX + 1);
        assert_int_equal(buf_append_u8(&fixture.errors, 0), 0);
        assert_non_null(strstr((const char *)buf_view(&fixture.errors).data, "49800 more errors"));
}

static void devices_in_order_of_name(void **state)
{
        put("sallyport.conf", SITE);
        static const char *const names[] = { "a-b", "a", "a.b", "B" };
        static const char *const sorted[] = { "B", "a", "a-b", "a.b" };
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                char name[64], text[256];
                snprintf(name, sizeof name, "devices.d/%s.conf", names[i]);
                snprintf(text, sizeof text,
                         "[Device]\nZone=lan\nClass=plain\nCertificateName=%zu\n", i);
                put(name, text);
        }
        _cleanup_(settings_freep) Settings *s = good();
        assert_int_equal(s->n_devices, 4);
        for (size_t i = 0; i < 4; i++) {
                assert_string_equal(s->devices[i].name, sorted[i]);
                assert_ptr_equal(settings_device(s, sorted[i]), &s->devices[i]);
        }
}

static char *slurp(const char *path)
{
        static char text[65536];
        FILE *f = fopen(path, "re");
        assert_non_null(f);
        text[fread(text, 1, sizeof text - 1, f)] = '\0';
        fclose(f);
        return text;
}

static void assert_template(void (*print)(FILE *f), const char *name)
{
        char path[512], *printed = NULL;
        size_t len;
        FILE *f = open_memstream(&printed, &len);
        print(f);
        fclose(f);
        snprintf(path, sizeof path, "%s/%s", getenv("SALLYPORT_CONF"), name);
        assert_string_equal(slurp(path), printed);
        free(printed);
}

/* The files that are installed say what the table says. */
static void shipped_files(void **state)
{
        if (!getenv("SALLYPORT_CONF") || !streq(SALLYPORT_STATEDIR, "/var/lib/sallyport"))
                skip();
        assert_template(config_print_template, "sallyport.conf");
        assert_template(config_print_device_template, "device.conf.example");
}

/* What sallyport.conf(5) says of a key, on one line; freed by the caller. */
static char *manual_entry(const char *page, const ConfigSection *s, const char *key)
{
        char heading[64], item[64];
        snprintf(heading, sizeof heading, "[%s%s]", s->name, s->named ? " NAME" : "");
        snprintf(item, sizeof item, "\n.It Va %s=\n", key);
        const char *start = strstr(page, heading), *end;
        if (!start || !(start = strstr(start + 1, item)) || !(end = strstr(start + 1, "\n.It ")))
                end = start ? strstr(start, "\n.El") : NULL;
        char *text = end ? strndup(start, (size_t)(end - start)) : NULL;
        for (char *c = text; c && *c; c++)
                if (*c == '\n')
                        *c = ' ';
        return text;
}

static void manual_page(void **state)
{
        if (!getenv("SALLYPORT_CONF") || !streq(SALLYPORT_STATEDIR, "/var/lib/sallyport"))
                skip();
        char path[512], expected[512];
        static char page[64 * 1024];
        snprintf(path, sizeof path, "%s/sallyport.conf.5", getenv("SALLYPORT_CONF"));
        FILE *f = fopen(path, "re");
        assert_non_null(f);
        assert_in_range(fread(page, 1, sizeof page, f), 1000, sizeof page - 1);
        fclose(f);
        for (int i = 0; i < _SECTION_MAX; i++) {
                const ConfigSection *s = &config_sections[i];
                for (size_t j = 0; j < CONFIG_KEYS_MAX && s->keys[j].name; j++) {
                        const ConfigKey *k = &s->keys[j];
                        _cleanup_free_ char *entry = manual_entry(page, s, k->name);
                        size_t n = (size_t)snprintf(expected, sizeof expected, " Takes ");
                        config_describe(k, expected + n, sizeof expected - n);
                        if (!entry || !strstr(entry, expected))
                                fail_msg("[%s] %s=: not \"%s\"", s->name, k->name, expected);
                        snprintf(expected, sizeof expected, " Default: %s.", strempty(k->fallback));
                        if (!k->fallback != !strstr(entry, k->fallback ? expected : " Default: "))
                                fail_msg("[%s] %s=: not \"%s\"", s->name, k->name, expected);
                }
        }
}

/* Every default of the template, with its '#' taken off, means what no word at all means. */
static void template_is_the_default(void **state)
{
        char *text = NULL;
        size_t len;
        FILE *f = open_memstream(&text, &len);
        config_print_template(f);
        fputs("[Devices]\nCA=/ca.pem\n", f);
        fclose(f);
        for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
                if (startswith(line, "#[Zone") || startswith(line, "#[Class"))
                        memcpy(strstr(line, "NAME"), "name", 4), line[0] = ' ';
                else if (line[0] == '#' && line[1] != ' ' && strchr(line, '=') &&
                         !startswith(line, "#Interface"))
                        line[0] = ' ';
        for (size_t i = 0; i < len; i++)
                if (text[i] == '\0')
                        text[i] = '\n';
        put("sallyport.conf", text);
        free(text);
        Settings *s = NULL;
        assert_int_equal(load(&s), -EINVAL);
        assert_int_equal(fixture.n_errors, 1);
        assert_int_equal(buf_append_u8(&fixture.errors, 0), 0);
        const char *error = (const char *)buf_view(&fixture.errors).data;
        assert_string_equal(strstr(error, ": "), ": Zone name/Interface: not set\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
        umask(022);
        const struct CMUnitTest tests[] = {
                TEST(defaults),
                TEST(everything),
                TEST(telemetry_by_default),
                TEST(class_limits),
                TEST(passwords),
                TEST(class_lists),
                TEST(class_lists_that_are_wrong),
                TEST(dropins),
                TEST(enrollment),
                TEST(all_errors_at_once),
                TEST(what_does_not_fit_together),
                TEST(packets_fit_the_store),
                TEST(device_errors),
                TEST(duplicates),
                TEST(files_that_are_not_trusted),
                TEST(no_file),
                TEST(large_file),
                TEST(many_errors),
                TEST(devices_in_order_of_name),
                TEST(shipped_files),
                TEST(manual_page),
                TEST(template_is_the_default),
                TEST(host_without_name), /* last: it changes what others see */
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
