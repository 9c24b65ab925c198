/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The table of the configuration: one row a key. For daemon/config* alone. */

#include "daemon/settings.h"

typedef struct ConfigKey ConfigKey;

/* How a value is read. `field` is the place that a row's offset names. */
typedef struct ConfigType {
        const char *expects; /* "a time span such as 90s or 15min" */
        /* Sets the field, or appends for a list. -EINVAL: is not what it expects; -ERANGE: outside
         * of the row's bounds, or too many; -ENOMEM. The field is as before on errors. */
        int (*parse)(const ConfigKey *key, const char *value, void *field);
        /* Frees and empties the field. */
        void (*reset)(void *field);
        /* Writes a bound; NULL: there are none. */
        void (*print_bound)(uint64_t bound, char *ret, size_t size);
        bool list; /* a key given again appends, an empty value empties */
} ConfigType;

struct ConfigKey {
        const char *name;
        const ConfigType *type;
        size_t offset;
        uint64_t min, max;
        const char *fallback; /* the default, as text; NULL: none */
        const char *help;
};

typedef enum ConfigSectionId {
        SECTION_GATEWAY,
        SECTION_TPM,
        SECTION_IDENTITY,
        SECTION_ENROLLMENT,
        SECTION_MQTT,
        SECTION_COAP,
        SECTION_DEVICES,
        SECTION_UPSTREAM,
        SECTION_STORE,
        SECTION_ATTESTATION,
        SECTION_EGRESS,
        SECTION_ZONE,   /* of many: [Zone NAME] */
        SECTION_CLASS,  /* of many */
        SECTION_DEVICE, /* one in each file of devices.d/ */
        _SECTION_MAX,
} ConfigSectionId;

#define CONFIG_KEYS_MAX 16

typedef struct ConfigSection {
        const char *name;
        bool named;
        const char *help;
        ConfigKey keys[CONFIG_KEYS_MAX]; /* until one without a name */
} ConfigSection;

extern const ConfigSection config_sections[_SECTION_MAX];

/* What a device's file says, before names are looked up. */
typedef struct ConfigDevice {
        Device device;
        char *zone, *class;
        char *attestation_key;
} ConfigDevice;

const ConfigKey *config_find_key(const ConfigSection *s, const char *name);
/* "a time span such as 90s or 15min, 10s to 1h": what a value of `key` must be. */
void config_describe(const ConfigKey *key, char *ret, size_t size);
/* Hands each word of `value` to `take`, which adds it to `field`. 0, -ENOMEM or the first error of
 * `take`: the words in front of it were added. */
int config_each_word(const char *value, int (*take)(const char *word, void *field), void *field);
bool config_interface_valid(const char *s);
bool config_host_valid(const char *host, size_t len);
/* The types of the table: daemon/config-types.c and daemon/config-lists.c. */
extern const ConfigType config_text, config_path, config_server, config_url, config_label,
        config_topic, config_topic_level, config_host_port, config_name, config_level,
        config_tls_key, config_tls_minimum, config_passwords, config_boolean, config_number,
        config_bytes32, config_bytes64, config_span, config_seconds, config_pcrs, config_words,
        config_paths, config_interface, config_interfaces, config_listens, config_services,
        config_attestation, config_postures, config_egress, config_pin, config_mac,
        config_addresses, config_instance_id, config_psa_client_ids, config_topic_filters,
        config_client_ids;
