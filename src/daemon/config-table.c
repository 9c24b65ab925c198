/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/config-table.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "daemon/config.h"
#include "platform/store.h"

#define S(member) offsetof(Settings, member)
#define C(member) offsetof(Class, member)
#define D(member) offsetof(ConfigDevice, member)

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)

/* The largest keep-alive that CONNECT can ask for (MQTT 5.0 section 3.1.2.10). */
#define KEEP_ALIVE_MAX (65535 * USEC_PER_SEC)

/* One row a key. */
/* clang-format off */
const ConfigSection config_sections[_SECTION_MAX] = {
        [SECTION_GATEWAY] = { "Gateway", false, "This gateway.", {
                { "Name", &config_topic_level, S(name), 0, 0, NULL,
                  "Its name in upstream topics. The host name without its domain by default." },
                { "LogLevel", &config_level, S(log_level), 0, 0, "info",
                  "The least important messages that are logged." },
                { "StateDirectory", &config_path, S(state_directory), 0, 0, SALLYPORT_STATEDIR,
                  "Where the identity's public parts and waiting messages are kept." },
        } },
        [SECTION_TPM] = { "TPM", false, "The TPM that holds the identity.", {
                { "TCTI", &config_text, S(tcti), 0, 0, "device:/dev/tpmrm0",
                  "How the TPM is reached: device:PATH, swtpm:path=PATH or swtpm:host=HOST,port=PORT." },
                { "PCRs", &config_pcrs, S(pcrs), 0, 0, "0 2 4 7",
                  "The PCRs of the SHA-256 bank that a quote covers. The identity is made for them: others\n"
                  "than its own here leave a warning, and a new identity takes them." },
        } },
        [SECTION_IDENTITY] = { "Identity", false, "How this gateway shows itself to devices.", {
                { "TLSKey", &config_tls_key, S(tls_key), 0, 0, "auto",
                  "minted: a leaf in memory for a few hours, certified by the identity, which has to\n"
                  "be a CA. tpm: every handshake signs in the TPM, and CoAP is off. auto: minted where\n"
                  "it can be." },
                { "LeafLifetime", &config_seconds, S(leaf_lifetime), 10 * USEC_PER_MIN, 30 * USEC_PER_DAY,
                  "6h", "How long a minted leaf is valid; it is replaced well before." },
                { "Names", &config_words, S(names), 0, 0, NULL,
                  "Host names and addresses in a minted leaf: all by which devices call this gateway.\n"
                  "The host name by default." },
        } },
        [SECTION_ENROLLMENT] = { "Enrollment", false, "Where the identity's certificate comes from and is renewed: EST (RFC 7030).", {
                { "Server", &config_server, S(enrollment.server), 0, 0, NULL,
                  "The EST server. Without it the certificate is not renewed by itself." },
                { "CA", &config_path, S(enrollment.ca), 0, 0, NULL,
                  "PEM file with the CA certificates for it. Must be set with Server=." },
                { "Label", &config_label, S(enrollment.label), 0, 0, NULL,
                  "Which CA, where the server has several: the word in its paths after\n"
                  "/.well-known/est/." },
                { "UserFile", &config_path, S(enrollment.user_file), 0, 0, NULL,
                  "File with NAME:PASSWORD for the first enrolment, which root alone may read:\n"
                  "sallyportctl identity enroll reads it. A renewal shows the certificate instead." },
                { "RenewAt", &config_number, S(enrollment.renew_at), 10, 95, "66",
                  "When to renew: percent of the certificate's lifetime." },
        } },
        [SECTION_MQTT] = { "MQTT", false, "MQTT over mutual TLS, for devices.", {
                { "Listen", &config_listens, S(mqtt.listen), 0, 0, "8883",
                  "Where to listen; a port alone means all addresses. May be given several times;\n"
                  "empty: MQTT is off." },
                { "MinimumTLS", &config_tls_minimum, S(mqtt.minimum_tls), 0, 0, "1.3",
                  "The oldest version of TLS that is accepted." },
                { "MaximumPacketSize", &config_bytes32, S(mqtt.maximum_packet_size), KIB, 4 * MIB,
                  "256K", "The largest packet that a device may send. MaximumSize= of [Store] has to be at least\n"
                  "17 times as much." },
                { "MaximumConnections", &config_number, S(mqtt.maximum_connections), 1, 65536,
                  "2048", "Connections at once, of all devices together." },
                { "KeepAlive", &config_seconds, S(mqtt.keep_alive), 10 * USEC_PER_SEC, KEEP_ALIVE_MAX,
                  "20min", "The longest keep-alive that a device may ask for." },
                { "SessionExpiry", &config_seconds, S(mqtt.session_expiry), 0, 3650 * USEC_PER_DAY, "7d",
                  "How long a session of a client that is away is kept at most. 0: none is." },
                { "Passwords", &config_passwords, S(mqtt.passwords), 0, 0, "refuse",
                  "User names and passwords of devices are refused, or ignored for those that cannot\n"
                  "help sending them. In neither case do they say who a device is: its certificate does." },
        } },
        [SECTION_COAP] = { "CoAP", false, "CoAP over DTLS with client certificates, for devices.", {
                { "Listen", &config_listens, S(coap.listen), 0, 0, "5684",
                  "Where to listen; a port alone means all addresses. May be given several times;\n"
                  "empty: CoAP is off." },
                { "MaximumSessions", &config_number, S(coap.maximum_sessions), 1, 65536, "2048",
                  "DTLS sessions at once, of all devices together." },
        } },
        [SECTION_DEVICES] = { "Devices", false, "Whom this gateway lets in; the devices themselves are in devices.d/.", {
                { "CA", &config_path, S(devices_ca), 0, 0, "/etc/sallyport/devices.pem",
                  "PEM file with the CA certificates that devices' certificates chain to." },
                { "CRL", &config_paths, S(devices_crl), 0, 0, NULL,
                  "Files with revocation lists of these CAs, in PEM or DER. May be given several times." },
                { "CRLURL", &config_url, S(crl.url), 0, 0, NULL,
                  "Where such a list is to be had, in DER, or in PEM lists of several CAs. What was\n"
                  "fetched last is kept and counts like the files of CRL=." },
                { "CRLURLCA", &config_path, S(crl.ca), 0, 0, NULL,
                  "PEM file with the CA certificates for the server. Must be set with an https URL." },
                { "CRLInterval", &config_span, S(crl.interval), USEC_PER_MIN, 7 * USEC_PER_DAY, "1h",
                  "How often to fetch it." },
        } },
        [SECTION_UPSTREAM] = { "Upstream", false, "The MQTT server that takes what devices send.", {
                { "Address", &config_host_port, S(upstream), 0, 0, NULL,
                  "Its address; the port is 8883 by default. Without it messages wait in the store." },
                { "ServerName", &config_text, S(upstream.server_name), 0, 0, NULL,
                  "The name that its certificate must show. The host of Address= by default." },
                { "CA", &config_path, S(upstream.ca), 0, 0, NULL,
                  "PEM file with the CA certificates for it. Must be set with Address=." },
                { "ClientId", &config_text, S(upstream.client_id), 0, 0, NULL,
                  "The MQTT client identifier. The gateway's name by default." },
                { "TopicPrefix", &config_topic, S(upstream.topic_prefix), 0, 0, "sallyport",
                  "Messages go to PREFIX/GATEWAY/DEVICE/TOPIC." },
                { "KeepAlive", &config_seconds, S(upstream.keep_alive), 5 * USEC_PER_SEC, KEEP_ALIVE_MAX,
                  "1min", "How long the connection may be silent." },
                { "Window", &config_number, S(upstream.window), 1, 65535, "500",
                  "Messages on their way at once that are not yet acknowledged." },
        } },
        [SECTION_STORE] = { "Store", false, "Messages that wait for the upstream.", {
                { "MaximumSize", &config_bytes64, S(store_maximum_size), STORE_BYTES_MIN, TIB, "1G",
                  "How much disk they may take. A quarter of it is for MQTT sessions: what waits for their\n"
                  "clients, retained messages and wills. On a file system with less room they stop before it is\n"
                  "full: when what is left is an eighth of this, or 8M. What finds no room is refused, for\n"
                  "its sender to try again; an MQTT will, which has none any more, waits for room." },
        } },
        [SECTION_ATTESTATION] = { "Attestation", false, "How devices' reports are judged.", {
                { "ReferenceValues", &config_paths, S(reference_values), 0, 0, NULL,
                  "Unsigned CoRIM files, or folders whose *.cbor are such, with the reference values.\n"
                  "They belong to root and nobody else may write them. May be given several times.\n"
                  "Without any no report can be affirmed." },
                { "NonceLifetime", &config_seconds, S(nonce_lifetime), 10 * USEC_PER_SEC, USEC_PER_HOUR,
                  "2min", "How long a device may take from nonce to report." },
        } },
        [SECTION_EGRESS] = { "Egress", false, "The way out for devices.", {
                { "Uplink", &config_interfaces, S(egress_uplink), 0, 0, NULL,
                  "The interfaces that lead out. Without any nothing is forwarded. The kernel forwards\n"
                  "only with sysctl net.ipv4.ip_forward=1 and net.ipv6.conf.all.forwarding=1." },
                { "Masquerade", &config_boolean, S(egress_masquerade), 0, 0, "no",
                  "Replace devices' addresses by the gateway's on the way out." },
        } },
        [SECTION_ZONE] = { "Zone", true,
                "A network behind this gateway, [Zone NAME]; as many as there are.", {
                { "Interface", &config_interface, offsetof(Zone, interface), 0, 0, NULL,
                  "The interface that leads there. Must be set." },
                { "Services", &config_services, offsetof(Zone, services), 0, 0, NULL,
                  "What else of this gateway its devices may reach, besides MQTT and CoAP: words out\n"
                  "of dhcp, dns, ntp and ping." },
        } },
        [SECTION_CLASS] = { "Class", true,
                "What devices of one kind may do, [Class NAME]; as many as there are.", {
                { "Attestation", &config_attestation, C(attestation), 0, 0, "none",
                  "How they attest: none, or psa for PSA attestation tokens." },
                { "Telemetry", &config_postures, C(telemetry), 0, 0, NULL,
                  "The postures in which their telemetry is taken. By default affirming and warning\n"
                  "with Attestation=psa, and all but contraindicated with Attestation=none." },
                { "Publish", &config_topic_filters, C(publish), 0, 0, NULL,
                  "Where they may publish besides their own namespace. %d is the device's name,\n"
                  "%z its zone's, %c its class's. May be given several times." },
                { "Subscribe", &config_topic_filters, C(subscribe), 0, 0, NULL,
                  "Where they may subscribe besides their own namespace, likewise." },
                { "ClientIds", &config_client_ids, C(client_ids), 0, 0, "%d",
                  "What their MQTT clients may be called. * stands for any characters, ? for one,\n"
                  "%d, %z and %c as above." },
                { "VerdictLifetime", &config_span, C(verdict_lifetime), USEC_PER_SEC,
                  30 * USEC_PER_DAY, "1h", "How long a verdict holds without a new report." },
                { "Egress", &config_egress, C(egress[POSTURE_AFFIRMING]), 0, 0, NULL,
                  "What they may reach beyond the gateway once affirmed, such as\n"
                  "tcp:203.0.113.10:443 or udp:[2001:db8::/32]:5000-5100. May be given several times." },
                { "EgressWarning", &config_egress, C(egress[POSTURE_WARNING]), 0, 0, NULL,
                  "The same with a warning." },
                { "EgressUnattested", &config_egress, C(egress[POSTURE_UNATTESTED]), 0, 0,
                  NULL, "The same while nothing is known of them." },
                { "MessagesPerSecond", &config_number, C(limits.rate.messages_per_second), 1, 1000000,
                  "200", "How many messages one of them may send. A packet that subscribes or unsubscribes\n"
                  "counts as one. Ten seconds' worth may come at once." },
                { "BytesPerSecond", &config_bytes64, C(limits.rate.bytes_per_second), KIB, GIB, "1M",
                  "How much that may be. Eight seconds' worth may come at once." },
                { "MaximumSessions", &config_number, C(limits.sessions), 1, 64, "8",
                  "MQTT sessions of one of them, whether connected or kept for it. One more is refused\n"
                  "until one of them ends." },
                { "MaximumSubscriptions", &config_number, C(limits.subscriptions), 1, 64, "32",
                  "Subscriptions of one session." },
                { "RetainedBytes", &config_bytes64, C(limits.retained_bytes), 0, GIB, "256K",
                  "Retained messages that one of them may leave on this gateway, by what they take on disk." },
                { "QueueBytes", &config_bytes64, C(limits.queue_bytes), 4 * KIB, GIB, "1M",
                  "Messages that may wait for one of them, in all of its sessions together. A quarter is\n"
                  "for sessions that are connected. What finds no room is dropped; its publisher does not\n"
                  "hear of that." },
        } },
        [SECTION_DEVICE] = { "Device", false, "One device; its name is the file's, without \".conf\".", {
                { "Zone", &config_name, D(zone), 0, 0, NULL, "The zone that it is in. Must be set." },
                { "Class", &config_name, D(class), 0, 0, NULL, "The class that it is of. Must be set." },
                { "CertificateName", &config_text, D(device.certificate_name), 0, 0, NULL,
                  "The name in its certificate: common name, or a DNS name or URI of its alternative\n"
                  "names. This, CertificateSPKI= or both must be set." },
                { "CertificateSPKI", &config_pin, D(device), 0, 0, NULL,
                  "SHA-256 of its certificate's public key (SubjectPublicKeyInfo). No other key is\n"
                  "accepted for it then." },
                { "HardwareAddress", &config_mac, D(device), 0, 0, NULL,
                  "The Ethernet address that it sends from. Packets for its Address= go there alone." },
                { "Address", &config_addresses, D(device), 0, 0, NULL,
                  "The IP addresses that it may use, at most 8. Without any it reaches the gateway's\n"
                  "ports alone." },
                { "InstanceID", &config_instance_id, D(device), 0, 0, NULL,
                  "Its PSA Instance ID, 33 bytes in hexadecimal digits." },
                { "AttestationKey", &config_path, D(attestation_key), 0, 0, NULL,
                  "PEM file with the public key that its attestation tokens are signed with. Goes\n"
                  "with InstanceID=. Without it the key that the reference values enrol for that\n"
                  "InstanceID= counts." },
                { "PSAClientIDs", &config_psa_client_ids, D(device), 0, 0, NULL,
                  "The callers on the device that may ask for a token (its client id claim), at most\n"
                  "8; negative ones are of its less trusted side. Without any all may." },
        } },
};
/* clang-format on */

const ConfigKey *config_find_key(const ConfigSection *s, const char *name)
{
        for (size_t i = 0; i < CONFIG_KEYS_MAX && s->keys[i].name; i++)
                if (streq(s->keys[i].name, name))
                        return &s->keys[i];
        return NULL;
}

void config_describe(const ConfigKey *key, char *ret, size_t size)
{
        const ConfigType *t = key->type;
        char min[USEC_FORMAT_MAX], max[USEC_FORMAT_MAX];
        if (!t->print_bound) {
                snprintf(ret, size, "%s", t->expects);
                return;
        }
        t->print_bound(key->min, min, sizeof min);
        t->print_bound(key->max, max, sizeof max);
        snprintf(ret, size, "%s, %s to %s", t->expects, min, max);
}

static void print_comment(FILE *f, const char *text)
{
        fputs("# ", f);
        for (; *text; text++) {
                fputc(*text, f);
                if (*text == '\n')
                        fputs("# ", f);
        }
        fputc('\n', f);
}

static void print_key(FILE *f, const ConfigKey *k)
{
        char expected[256];
        fputc('\n', f);
        print_comment(f, k->help);
        config_describe(k, expected, sizeof expected);
        fprintf(f, "# Takes %s.\n#%s=%s\n", expected, k->name, strempty(k->fallback));
}

static void print_section(FILE *f, const ConfigSection *s)
{
        fputc('\n', f);
        print_comment(f, s->help);
        fprintf(f, "%s[%s%s]\n", s->named ? "#" : "", s->name, s->named ? " NAME" : "");
        for (size_t i = 0; i < CONFIG_KEYS_MAX && s->keys[i].name; i++)
                print_key(f, &s->keys[i]);
}

void config_print_template(FILE *f)
{
        fputs("# Configuration of sallyportd. Every key stands here with its default. After "
              "changes:\n"
              "#\n"
              "#     sallyportd --check && systemctl reload sallyportd\n"
              "#\n"
              "# Files in sallyport.conf.d/ are read after this one, in order of name. A key that "
              "is given again\n"
              "# replaces what was before or, for a list, adds to it; \"Key=\" empties a list and "
              "gives\n"
              "# anything else its default back. '#' and ';' begin a comment at the start of a "
              "line only;\n"
              "# within a value they are part of it. A line that ends in a backslash goes on in "
              "the next.\n",
              f);
        for (int i = 0; i < SECTION_DEVICE; i++)
                print_section(f, &config_sections[i]);
}

void config_print_device_template(FILE *f)
{
        fputs("# A device of this gateway. Copy this file to NAME.conf in this folder.\n", f);
        print_section(f, &config_sections[SECTION_DEVICE]);
}
