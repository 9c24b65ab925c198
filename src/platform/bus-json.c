/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/bus-json.h"

#include <errno.h>

#define DEPTH_MAX 16

static int append_variant(sd_bus_message *m, const json_t *value);

static int append_object(sd_bus_message *m, const json_t *object)
{
        int r = sd_bus_message_open_container(m, SD_BUS_TYPE_ARRAY, "{sv}");
        if (r < 0)
                return r;
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)object, key, value)
        {
                if (json_is_null(value))
                        continue;
                r = sd_bus_message_open_container(m, SD_BUS_TYPE_DICT_ENTRY, "sv");
                if (r >= 0)
                        r = sd_bus_message_append_basic(m, SD_BUS_TYPE_STRING, key);
                if (r >= 0)
                        r = append_variant(m, value);
                if (r >= 0)
                        r = sd_bus_message_close_container(m);
                if (r < 0)
                        return r;
        }
        return sd_bus_message_close_container(m);
}

static int append_array(sd_bus_message *m, const json_t *array, const char *contents,
                        int (*append)(sd_bus_message *, const json_t *))
{
        int r = sd_bus_message_open_container(m, SD_BUS_TYPE_ARRAY, contents);
        size_t i;
        json_t *value;
        json_array_foreach((json_t *)array, i, value)
        {
                if (r < 0)
                        return r;
                r = append(m, value);
        }
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static bool all_objects(const json_t *array)
{
        size_t i;
        json_t *value;
        json_array_foreach((json_t *)array, i, value)
        {
                if (!json_is_object(value))
                        return false;
        }
        return true;
}

static int append_basic(sd_bus_message *m, const char *type, const void *value)
{
        int r = sd_bus_message_open_container(m, SD_BUS_TYPE_VARIANT, type);
        if (r >= 0)
                r = sd_bus_message_append_basic(m, type[0], value);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_in_variant(sd_bus_message *m, const char *signature, const json_t *value)
{
        int r = sd_bus_message_open_container(m, SD_BUS_TYPE_VARIANT, signature);
        if (r < 0)
                return r;
        if (json_is_object(value))
                r = append_object(m, value);
        else if (signature[1] == 'a')
                r = append_array(m, value, "a{sv}", append_object);
        else
                r = append_array(m, value, "v", append_variant);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_variant(sd_bus_message *m, const json_t *value)
{
        int64_t integer;
        double real;
        int truth;

        switch (json_typeof(value)) {
        case JSON_STRING:
                return append_basic(m, "s", json_string_value(value));
        case JSON_INTEGER:
                integer = json_integer_value(value);
                return append_basic(m, "x", &integer);
        case JSON_REAL:
                real = json_real_value(value);
                return append_basic(m, "d", &real);
        case JSON_TRUE:
        case JSON_FALSE:
                truth = json_is_true(value);
                return append_basic(m, "b", &truth);
        case JSON_NULL:
                return append_basic(m, "s", "");
        case JSON_OBJECT:
                return append_in_variant(m, "a{sv}", value);
        case JSON_ARRAY:
                return append_in_variant(m, all_objects(value) ? "aa{sv}" : "av", value);
        }
        return -EINVAL;
}

const char *bus_result_signature(BusResult result)
{
        switch (result) {
        case BUS_RESULT_NOTHING:
                return "";
        case BUS_RESULT_OBJECT:
                return "a{sv}";
        case BUS_RESULT_OBJECTS:
                return "aa{sv}";
        }
        return "";
}

int bus_append_result(sd_bus_message *m, BusResult result, const json_t *value)
{
        switch (result) {
        case BUS_RESULT_NOTHING:
                return 0;
        case BUS_RESULT_OBJECT:
                return json_is_object(value) ? append_object(m, value) : -EINVAL;
        case BUS_RESULT_OBJECTS:
                if (!json_is_array(value) || !all_objects(value))
                        return -EINVAL;
                return append_array(m, value, "a{sv}", append_object);
        }
        return -EINVAL;
}

static int read_value(sd_bus_message *m, unsigned depth, json_t **ret);

static int read_number(sd_bus_message *m, char type, json_t **ret)
{
        union {
                uint8_t y;
                int16_t n;
                uint16_t q;
                int32_t i;
                uint32_t u;
                int64_t x;
                uint64_t t;
                int b;
                double d;
        } v = { 0 };
        int r = sd_bus_message_read_basic(m, type, &v);
        if (r < 0)
                return r;
        switch (type) {
        case SD_BUS_TYPE_BYTE:
                *ret = json_integer(v.y);
                return 0;
        case SD_BUS_TYPE_INT16:
                *ret = json_integer(v.n);
                return 0;
        case SD_BUS_TYPE_UINT16:
                *ret = json_integer(v.q);
                return 0;
        case SD_BUS_TYPE_INT32:
                *ret = json_integer(v.i);
                return 0;
        case SD_BUS_TYPE_UINT32:
                *ret = json_integer(v.u);
                return 0;
        case SD_BUS_TYPE_INT64:
                *ret = json_integer(v.x);
                return 0;
        case SD_BUS_TYPE_UINT64:
                *ret = json_integer((json_int_t)v.t);
                return 0;
        case SD_BUS_TYPE_BOOLEAN:
                *ret = json_boolean(v.b);
                return 0;
        case SD_BUS_TYPE_DOUBLE:
                *ret = json_real(v.d);
                return 0;
        default:
                return -EBADMSG;
        }
}

static int read_entry(sd_bus_message *m, const char *contents, unsigned depth, json_t *object)
{
        const char *key;
        json_t *value = NULL;
        int r = sd_bus_message_enter_container(m, SD_BUS_TYPE_DICT_ENTRY, contents);
        if (r <= 0)
                return r;
        r = sd_bus_message_read_basic(m, SD_BUS_TYPE_STRING, &key);
        if (r >= 0)
                r = read_value(m, depth + 1, &value);
        if (r < 0)
                return r;
        if (json_object_set_new(object, key, value) < 0)
                return -ENOMEM;
        r = sd_bus_message_exit_container(m);
        return r < 0 ? r : 1;
}

static int read_array(sd_bus_message *m, const char *contents, unsigned depth, json_t **ret)
{
        bool dictionary = contents[0] == '{';
        char entry[32];
        if (dictionary) {
                size_t len = strlen(contents);
                if (contents[1] != 's' || len - 2 >= sizeof(entry))
                        return -EBADMSG;
                memcpy(entry, contents + 1, len - 2);
                entry[len - 2] = '\0';
        }
        int r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, contents);
        if (r < 0)
                return r;
        json_t *all = dictionary ? json_object() : json_array();
        while (all && (r = sd_bus_message_at_end(m, false)) == 0) {
                json_t *value = NULL;
                if (dictionary)
                        r = read_entry(m, entry, depth, all);
                else if ((r = read_value(m, depth + 1, &value)) >= 0)
                        r = json_array_append_new(all, value) < 0 ? -ENOMEM : 0;
                if (r < 0)
                        break;
        }
        if (!all)
                return -ENOMEM;
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r < 0) {
                json_decref(all);
                return r;
        }
        *ret = all;
        return 0;
}

static int read_value(sd_bus_message *m, unsigned depth, json_t **ret)
{
        char type;
        const char *contents, *text;
        if (depth > DEPTH_MAX)
                return -EBADMSG;
        int r = sd_bus_message_peek_type(m, &type, &contents);
        if (r <= 0)
                return r < 0 ? r : -EBADMSG;
        switch (type) {
        case SD_BUS_TYPE_VARIANT:
                r = sd_bus_message_enter_container(m, type, contents);
                if (r >= 0)
                        r = read_value(m, depth + 1, ret);
                return r < 0 ? r : sd_bus_message_exit_container(m);
        case SD_BUS_TYPE_ARRAY:
                return read_array(m, contents, depth, ret);
        case SD_BUS_TYPE_STRING:
        case SD_BUS_TYPE_OBJECT_PATH:
                r = sd_bus_message_read_basic(m, type, &text);
                if (r < 0)
                        return r;
                *ret = json_string(text);
                return *ret ? 0 : -EBADMSG;
        default:
                return read_number(m, type, ret);
        }
}

int bus_read_value(sd_bus_message *m, json_t **ret)
{
        json_t *value = NULL;
        int r = read_value(m, 0, &value);
        if (r < 0) {
                json_decref(value);
                return r;
        }
        *ret = value;
        return 0;
}
