/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the configuration says about zones, classes and devices: plain, immutable after load. */

#include "base/bytes.h"
#include "base/time.h"
#include "base/util.h"
#include "domain/quota.h"

/* What attestation has shown of a device (AR4SI's tiers and "nothing known"). */
typedef enum Posture {
        POSTURE_UNATTESTED,
        POSTURE_AFFIRMING,
        POSTURE_WARNING,
        POSTURE_CONTRAINDICATED,
        _POSTURE_MAX,
} Posture;

const char *posture_to_string(Posture p);
/* -EINVAL for an unknown word. */
int posture_from_string(const char *s);

/* NULL-terminated words; `words` is NULL for none. */
typedef struct Words {
        char **words;
        size_t n;
} Words;

#define DEVICE_NAME_MAX 64
/* A device's, zone's or class's name: 1 to 64 of [A-Za-z0-9._-], the first a letter or digit, and
 * none of the reserved "gateway", "rats", "cmd". It stands in topics, files, rules and labels. */
bool device_name_valid(const char *s);
/* One of these reserved names. */
bool device_name_reserved(Bytes s);

/* One allowance: a destination that a device may open connections to. */
typedef struct EgressRule {
        uint8_t family;                 /* 4 or 6 */
        uint8_t addr[16];               /* network order; the first 4 bytes for IPv4 */
        uint8_t prefix;                 /* bits */
        uint8_t protocol;               /* IPPROTO_TCP or IPPROTO_UDP */
        uint16_t port_first, port_last; /* inclusive */
} EgressRule;

/* "tcp:203.0.113.10:443", "udp:[2001:db8::/32]:5000-5100", "tcp:198.51.100.0/24:443". -EINVAL, also
 * for an address with bits set behind its prefix: what was meant is then not known. */
int egress_rule_parse(const char *s, EgressRule *ret);
#define EGRESS_RULE_FORMAT_MAX 96
char *egress_rule_format(const EgressRule *r, char ret[static EGRESS_RULE_FORMAT_MAX]);

typedef struct EgressRules {
        EgressRule *rules;
        size_t n_rules;
} EgressRules;

typedef struct Zone {
        char *name;
        char *interface;
        unsigned services; /* ZONE_SERVICE_*: what else of the gateway devices may reach */
} Zone;

enum {
        ZONE_SERVICE_DHCP = 1 << 0,
        ZONE_SERVICE_DNS = 1 << 1,
        ZONE_SERVICE_NTP = 1 << 2,
        ZONE_SERVICE_PING = 1 << 3,
};

typedef enum AttestationKind {
        ATTESTATION_NONE,
        ATTESTATION_PSA,
        _ATTESTATION_MAX,
} AttestationKind;

/* What one device of a class may take up. */
typedef struct ClassLimits {
        QuotaLimits rate;        /* messages and bytes a second, and their bursts */
        uint32_t sessions;       /* MQTT sessions of one device, connected or not */
        uint32_t subscriptions;  /* of one session */
        uint64_t retained_bytes; /* retained messages that one device published */
        uint64_t queue_bytes;    /* messages that wait for one device's sessions */
} ClassLimits;

typedef struct Class {
        char *name;
        AttestationKind attestation;
        unsigned telemetry; /* 1 << Posture: in which its telemetry is taken */
        usec_t verdict_lifetime;
        EgressRules egress[_POSTURE_MAX]; /* POSTURE_CONTRAINDICATED stays empty */
        ClassLimits limits;
        /* Patterns (domain/pattern.h): topics outside of a device's own namespace, and what its
         * MQTT clients may be called. */
        Words publish, subscribe, client_ids;
} Class;

#define DEVICE_ADDRESSES_MAX 8

#define DEVICE_PSA_CLIENT_IDS_MAX 8

typedef struct DeviceAddress {
        uint8_t family; /* 4 or 6 */
        uint8_t addr[16];
} DeviceAddress;

typedef struct Device {
        char *name;
        const Zone *zone;
        const Class *class;
        /* How its certificate is known: a name (CN, or a dNSName or URI of subjectAltName), a pin
         * of its key, or both; at least one. */
        char *certificate_name;
        uint8_t spki_sha256[32];
        bool spki_pinned;
        /* Where it may appear; without them it reaches the gateway's ports alone. */
        uint8_t hardware_address[6];
        bool has_hardware_address;
        DeviceAddress addresses[DEVICE_ADDRESSES_MAX];
        size_t n_addresses;
        /* Its enrolled attestation identity (PSA): Instance ID, IAK, and which callers on it may
         * ask for tokens (none listed: any). */
        uint8_t instance_id[33];
        bool has_instance_id;
        void *attestation_key;              /* PublicKey of the daemon's binding; NULL without */
        uint8_t attestation_key_sha256[32]; /* of its SubjectPublicKeyInfo: which key that is */
        int32_t psa_client_ids[DEVICE_PSA_CLIENT_IDS_MAX];
        size_t n_psa_client_ids;
        char *origin; /* "devices.d/dev1.conf": for messages */
} Device;

/* What a peer's address is compared by: an IPv4 address mapped into IPv6 counts as IPv4. */
bool device_address_equal(const DeviceAddress *a, const DeviceAddress *b);
/* "192.0.2.1" or "2001:db8::1": -EINVAL. */
int device_address_parse(const char *s, DeviceAddress *ret);
