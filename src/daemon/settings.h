/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The configuration as parsed and checked: plain and immutable. Who reloads makes a new one. */

#include <sys/socket.h>

#include "domain/device.h"

typedef enum TlsKeyMode {
        TLS_KEY_AUTO,   /* minted where the identity certificate is a CA, otherwise tpm */
        TLS_KEY_MINTED, /* a short-lived leaf in memory, certified by the identity */
        TLS_KEY_TPM,    /* every handshake signs in the TPM */
        _TLS_KEY_MAX,
} TlsKeyMode;

typedef enum TlsMinimum {
        TLS_MINIMUM_1_2,
        TLS_MINIMUM_1_3,
        _TLS_MINIMUM_MAX,
} TlsMinimum;

/* What becomes of user name and password in CONNECT: the certificate says who a device is. */
typedef enum PasswordMode {
        PASSWORDS_REFUSE,
        PASSWORDS_IGNORE, /* let in, and never looked at */
        _PASSWORDS_MAX,
} PasswordMode;

typedef struct ListenAddress {
        struct sockaddr_storage address; /* [::] takes IPv4 as well when only a port was given */
        bool any;                        /* only a port was given */
} ListenAddress;

typedef struct Listens {
        ListenAddress *addresses;
        size_t n;
} Listens;

typedef struct Settings {
        char *name; /* of this gateway in upstream topics: one level */
        int log_level;
        char *state_directory;

        char *tcti;
        uint32_t pcrs; /* bit n: PCR n of the SHA-256 bank */

        TlsKeyMode tls_key;
        usec_t leaf_lifetime;
        Words names; /* that the leaf is valid for: host names and addresses */

        struct {
                char *server;      /* https://HOST[:PORT]; NULL: no renewal */
                char *ca;          /* PEM file */
                char *label;       /* NULL: the server's only CA */
                char *user_file;   /* NULL: none */
                uint32_t renew_at; /* percent of the certificate's lifetime */
        } enrollment;

        struct {
                Listens listen;
                TlsMinimum minimum_tls;
                uint32_t maximum_packet_size; /* bytes */
                uint32_t maximum_connections;
                usec_t keep_alive;     /* the longest that a device may ask for; whole seconds */
                usec_t session_expiry; /* the longest; whole seconds */
                PasswordMode passwords;
        } mqtt;

        struct {
                Listens listen;
                uint32_t maximum_sessions;
        } coap;

        char *devices_ca;  /* PEM file */
        Words devices_crl; /* PEM or DER files */
        struct {
                char *url; /* http:// or https://; NULL: nothing is fetched */
                char *ca;  /* PEM file, for https */
                usec_t interval;
        } crl;

        struct {
                char *host; /* NULL: no upstream */
                uint16_t port;
                char *server_name;  /* what its certificate must name */
                char *ca;           /* PEM file */
                char *client_id;    /* the gateway's name by default */
                char *topic_prefix; /* without '/' at its ends */
                usec_t keep_alive;  /* whole seconds */
                uint32_t window;    /* messages on their way at once */
        } upstream;

        uint64_t store_maximum_size; /* bytes */

        Words reference_values; /* CoRIM files or folders of them */
        usec_t nonce_lifetime;

        Words egress_uplink; /* interfaces; none: nothing is forwarded */
        bool egress_masquerade;

        /* In order of name. Devices point to zones and classes. */
        Zone *zones;
        size_t n_zones;
        Class *classes;
        size_t n_classes;
        Device *devices;
        size_t n_devices;

        /* Releases Device.attestation_key. */
        void (*key_free)(void *key);
} Settings;

Settings *settings_free(Settings *s);
DEFINE_CLEANUP(Settings, settings_free)

const Zone *settings_zone(const Settings *s, const char *name);
const Class *settings_class(const Settings *s, const char *name);
const Device *settings_device(const Settings *s, const char *name);
