/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/str.h"
#include "daemon/config-load.h"
#include "proto/ini.h"

#define DROPINS_MAX 1000

static void report_text(Config *c, const char *text)
{
        _cleanup_free_ char *safe = str_escape(bytes_from_str(text), 4096);
        if (safe)
                c->report(safe, c->userdata);
}

void config_error(Config *c, ConfigOrigin origin, const ConfigObject *object, const char *key,
                  const char *format, ...)
{
        char text[1024], where[1024] = "";
        if (++c->errors > CONFIG_ERRORS_MAX)
                return;
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);

        if (object)
                snprintf(where, sizeof where, "%s%s%s%s%s: ", object->section->name,
                         object->section->named ? " " : "",
                         object->section->named ? strempty(object->name) : "", key ? "/" : "",
                         strempty(key));
        char line[32] = "";
        if (origin.line > 0)
                snprintf(line, sizeof line, ":%u", origin.line);
        _cleanup_free_ char *all = NULL;
        if (asprintf(&all, "%s%s%s%s: %s%s", c->folder, origin.file ? "/" : "",
                     strempty(origin.file), line, where, text) < 0)
                all = NULL;
        else
                report_text(c, all);
}

static size_t key_index(const ConfigObject *o, const ConfigKey *k)
{
        return (size_t)(k - o->section->keys);
}

bool config_is_set(const ConfigObject *o, const char *key)
{
        return o->keys[key_index(o, config_find_key(o->section, key))].file;
}

ConfigOrigin config_origin(const ConfigObject *o, const char *key)
{
        if (!config_is_set(o, key))
                return o->origin;
        return o->keys[key_index(o, config_find_key(o->section, key))];
}

int config_assign(const ConfigObject *o, const ConfigKey *k, const char *value)
{
        void *field = (char *)o->target + k->offset;
        bool first = !o->keys[key_index(o, k)].file;
        if (!value || (*value == '\0' && !k->type->list)) {
                k->type->reset(field);
                return k->fallback ? k->type->parse(k, k->fallback, field) : 0;
        }
        if (k->type->list && (first || *value == '\0'))
                k->type->reset(field);
        return *value ? k->type->parse(k, value, field) : 0;
}

/* Every default is read as if it stood in a file. */
static int set_defaults(const ConfigObject *o)
{
        for (size_t i = 0; i < CONFIG_KEYS_MAX && o->section->keys[i].name; i++) {
                int r = config_assign(o, &o->section->keys[i], NULL);
                if (r < 0)
                        return r;
        }
        return 0;
}

static const char *intern_file(Config *c, const char *folder, const char *name)
{
        char *path = NULL, **files = reallocarray(c->files, c->n_files + 1, sizeof(char *));
        if (!files)
                return NULL;
        c->files = files;
        if (asprintf(&path, "%s%s%s", folder, *folder ? "/" : "", name) < 0)
                return NULL;
        return c->files[c->n_files++] = path;
}

static ConfigObject *object_free(ConfigObject *o)
{
        if (!o)
                return NULL;
        /* What was moved into the settings is empty here. */
        for (size_t i = 0; i < CONFIG_KEYS_MAX && o->section->keys[i].name; i++)
                o->section->keys[i].type->reset((char *)o->target + o->section->keys[i].offset);
        free(o->name);
        free(o);
        return NULL;
}
DEFINE_CLEANUP(ConfigObject, object_free)

static ConfigObject *add_object(Config *c, const ConfigSection *s, const char *name,
                                ConfigOrigin origin)
{
        bool device = s == &config_sections[SECTION_DEVICE];
        ConfigObject ***list = device ? &c->devices : &c->named;
        size_t *n = device ? &c->n_devices : &c->n_named;
        ConfigObject **grown = reallocarray(*list, *n + 1, sizeof(ConfigObject *));
        if (grown)
                *list = grown;
        _cleanup_(object_freep) ConfigObject *o = grown ? calloc(1, sizeof *o) : NULL;
        if (o) {
                o->section = s;
                o->origin = origin;
                o->target = &o->device;
                o->name = strdup(name);
        }
        if (!o || !o->name || set_defaults(o) < 0) {
                c->no_memory = true;
                return NULL;
        }
        return grown[(*n)++] = TAKE_PTR(o);
}

/* [Zone NAME] and [Class NAME]: once a file; another file may say more about it. */
static ConfigObject *named_object(Config *c, const ConfigSection *s, const char *name,
                                  ConfigOrigin origin)
{
        if (!device_name_valid(name)) {
                config_error(c, origin, NULL, NULL,
                             "[%s %s]: expected a name of 1 to 64 letters, digits, '.', '_' and "
                             "'-', the first a letter or digit, other than gateway, rats and cmd",
                             s->name, name);
                return NULL;
        }
        for (size_t i = 0; i < c->n_named; i++) {
                ConfigObject *o = c->named[i];
                if (o->section != s || !streq(o->name, name))
                        continue;
                if (o->origin.file == origin.file) {
                        config_error(c, origin, o, NULL, "it is there already, in line %u",
                                     o->origin.line);
                        return NULL;
                }
                o->origin = origin;
                return o;
        }
        if (c->n_named >= CONFIG_NAMED_MAX) {
                config_error(c, origin, NULL, NULL, "more than %d zones and classes",
                             CONFIG_NAMED_MAX);
                return NULL;
        }
        return add_object(c, s, name, origin);
}

static void unknown_section(Config *c, const char *text, ConfigOrigin origin)
{
        const char *names[_SECTION_MAX];
        for (int i = 0; i < _SECTION_MAX; i++)
                names[i] = config_sections[i].name;
        char word[65];
        snprintf(word, sizeof word, "%.*s", (int)MIN(strcspn(text, " "), (size_t)64), text);
        const char *like = config_suggest(word, names, SECTION_DEVICE);
        config_error(c, origin, NULL, NULL, "unknown section [%s]%s%s%s", text,
                     like ? ", did you mean [" : "", strempty(like), like ? "]?" : "");
}

/* The object that a heading of a main file begins; NULL when there was an error. */
static ConfigObject *find_section(Config *c, const char *text, ConfigOrigin origin)
{
        for (int i = 0; i < SECTION_DEVICE; i++) {
                const ConfigSection *s = &config_sections[i];
                const char *rest = startswith(text, s->name);
                if (!rest || (*rest != '\0' && *rest != ' '))
                        continue;
                if (s->named)
                        return named_object(c, s, rest + strspn(rest, " "), origin);
                if (*rest)
                        continue;
                c->gateway[i].origin = origin;
                return &c->gateway[i];
        }
        unknown_section(c, text, origin);
        return NULL;
}

static void unknown_key(Config *c, const ConfigObject *o, const char *key, ConfigOrigin origin)
{
        const char *names[CONFIG_KEYS_MAX];
        size_t n = 0;
        while (n < CONFIG_KEYS_MAX && o->section->keys[n].name) {
                names[n] = o->section->keys[n].name;
                n++;
        }
        const char *like = config_suggest(key, names, n);
        config_error(c, origin, o, NULL, "unknown key \"%s\"%s%s%s", key,
                     like ? ", did you mean " : "", strempty(like), like ? "=?" : "");
}

static void assign(Config *c, ConfigObject *o, const IniItem *item, ConfigOrigin origin)
{
        const ConfigKey *k = config_find_key(o->section, item->key);
        if (!k) {
                unknown_key(c, o, item->key, origin);
                return;
        }
        int r = config_assign(o, k, item->text);
        o->keys[key_index(o, k)] = origin;
        if (r == -ENOMEM) {
                c->no_memory = true;
        } else if (r < 0) {
                char expected[256];
                config_describe(k, expected, sizeof expected);
                config_error(c, origin, o, k->name, "%s \"%.200s\", expected %s",
                             r == -ERANGE ? "out of range:" : "not understood:", item->text,
                             expected);
        }
}

/* `device` is the object of a file of devices.d/, NULL for a main file. */
static void parse_content(Config *c, const char *file, Bytes content, ConfigObject *device)
{
        IniReader *reader = malloc(sizeof *reader);
        if (!reader) {
                c->no_memory = true;
                return;
        }
        ConfigObject *o = NULL;
        bool skip = false; /* the section is wrong: said once, not for each key */
        ini_start(reader, content);
        for (IniItem i = ini_next(reader); i.kind != INI_END; i = ini_next(reader)) {
                ConfigOrigin origin = { file, i.line };
                if (i.kind == INI_WRONG) {
                        config_error(c, origin, NULL, NULL, "wrong line: %s", i.text);
                        if (i.heading)
                                o = NULL;
                        skip = skip || i.heading;
                } else if (i.kind == INI_SECTION && device) {
                        o = streq(i.text, device->section->name) ? device : NULL;
                        if (!o)
                                config_error(c, origin, NULL, NULL,
                                             "unknown section [%s], expected [Device] alone",
                                             i.text);
                        skip = !o;
                } else if (i.kind == INI_SECTION) {
                        o = find_section(c, i.text, origin);
                        skip = !o;
                } else if (o) {
                        assign(c, o, &i, origin);
                } else if (!skip) {
                        config_error(c, origin, NULL, NULL, "%s= stands in front of any section",
                                     i.key);
                }
        }
        free(reader);
}

/* A regular file that not everybody may write, of a size that is sane: no device to hang on, no
 * link to somewhere else. NULL or what is wrong. */
static const char *check_file(const struct stat *st)
{
        if (!S_ISREG(st->st_mode))
                return "not a regular file";
        if (st->st_mode & S_IWOTH)
                return "everybody may write to it (chmod o-w)";
        if (st->st_size > CONFIG_FILE_MAX)
                return "larger than 1 MiB";
        return NULL;
}

static int open_error(Config *c, ConfigOrigin at, int error)
{
        config_error(c, at, NULL, NULL, "%s",
                     error == ELOOP ? "is a symbolic link, which is not followed"
                                    : strerror(error));
        return -EINVAL;
}

static int read_content(Config *c, int dir_fd, const char *name, ConfigOrigin at, Buf *ret)
{
        struct stat st;
        _cleanup_close_ int fd =
                openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 || fstat(fd, &st) < 0)
                return open_error(c, at, errno);
        const char *wrong = check_file(&st);
        if (wrong) {
                config_error(c, at, NULL, NULL, "%s", wrong);
                return -EINVAL;
        }
        for (;;) {
                uint8_t *p;
                int r = buf_reserve(ret, 65536, &p);
                if (r < 0) {
                        config_error(c, at, NULL, NULL, "larger than 1 MiB");
                        return r;
                }
                ssize_t n = read(fd, p, 65536);
                if (n < 0)
                        return open_error(c, at, errno);
                if (n == 0)
                        return 0;
                buf_commit(ret, (size_t)n);
        }
}

/* NAME of "NAME.conf" when it can be a device's. */
static ConfigObject *device_of_file(Config *c, const char *name, const char *file)
{
        char device[DEVICE_NAME_MAX + 1];
        size_t len = strlen(name) - strlen(".conf");
        snprintf(device, sizeof device, "%.*s", (int)MIN(len, sizeof device - 1), name);
        if (len > DEVICE_NAME_MAX || !device_name_valid(device)) {
                config_error(c, (ConfigOrigin){ file, 0 }, NULL, NULL,
                             "the file's name is not that of a device: expected 1 to 64 letters, "
                             "digits, '.', '_' and '-', the first a letter or digit, other than "
                             "gateway, rats and cmd");
                return NULL;
        }
        return add_object(c, &config_sections[SECTION_DEVICE], device, (ConfigOrigin){ file, 0 });
}

static void parse_file(Config *c, int dir_fd, const char *folder, const char *name)
{
        _cleanup_buf_ Buf content = BUF_INIT(CONFIG_FILE_MAX + 65536);
        const char *file = intern_file(c, folder, name);
        if (!file) {
                c->no_memory = true;
                return;
        }
        ConfigObject *device = NULL;
        if (streq(folder, "devices.d") && !(device = device_of_file(c, name, file)))
                return;
        if (read_content(c, dir_fd, name, (ConfigOrigin){ file, 0 }, &content) == 0)
                parse_content(c, file, buf_view(&content), device);
}

static int is_conf(const struct dirent *e)
{
        size_t len = strlen(e->d_name);
        return e->d_name[0] != '.' && len > 5 && streq(e->d_name + len - 5, ".conf");
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
        return strcmp((*a)->d_name, (*b)->d_name);
}

static void parse_folder(Config *c, const char *folder, int max)
{
        const char *name = intern_file(c, "", folder);
        ConfigOrigin at = { name, 0 };
        struct stat st;
        struct dirent **entries = NULL;
        _cleanup_close_ int fd =
                openat(c->folder_fd, folder, O_RDONLY | O_CLOEXEC | O_DIRECTORY | O_NOFOLLOW);
        if (fd < 0 && errno == ENOENT)
                return;
        int n = fd < 0 || fstat(fd, &st) < 0 ? -1 : scandirat(fd, ".", &entries, is_conf, by_bytes);
        if (n < 0) {
                open_error(c, at, errno);
                return;
        }
        if (st.st_mode & S_IWOTH)
                config_error(c, at, NULL, NULL, "everybody may write to it (chmod o-w)");
        if (n > max)
                config_error(c, at, NULL, NULL, "%d files, at most %d are read", n, max);
        for (int i = 0; i < n; i++) {
                if (n <= max)
                        parse_file(c, fd, folder, entries[i]->d_name);
                free(entries[i]);
        }
        free(entries);
}

static void parse_all(Config *c)
{
        struct stat st;
        c->folder_fd = open(c->folder, O_RDONLY | O_CLOEXEC | O_DIRECTORY);
        if (c->folder_fd < 0 || fstat(c->folder_fd, &st) < 0) {
                open_error(c, (ConfigOrigin){ 0 }, errno);
                return;
        }
        if (st.st_mode & S_IWOTH)
                config_error(c, (ConfigOrigin){ 0 }, NULL, NULL,
                             "everybody may write to it (chmod o-w)");
        parse_file(c, c->folder_fd, "", "sallyport.conf");
        parse_folder(c, "sallyport.conf.d", DROPINS_MAX);
        parse_folder(c, "devices.d", CONFIG_DEVICES_MAX);
}

static void config_done(Config *c)
{
        for (size_t i = 0; i < c->n_named; i++)
                object_free(c->named[i]);
        for (size_t i = 0; i < c->n_devices; i++)
                object_free(c->devices[i]);
        for (size_t i = 0; i < c->n_files; i++)
                free(c->files[i]);
        free(c->named);
        free(c->devices);
        free(c->files);
        settings_free(c->settings);
        closep(&c->folder_fd);
}

static int prepare(Config *c)
{
        c->settings = calloc(1, sizeof *c->settings);
        if (!c->settings)
                return -ENOMEM;
        c->settings->key_free = c->loader->free;
        for (int i = 0; i < SECTION_ZONE; i++) {
                c->gateway[i].section = &config_sections[i];
                c->gateway[i].target = c->settings;
                int r = set_defaults(&c->gateway[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

int config_load(const char *folder, const ConfigKeyLoader *loader, ConfigReport report,
                void *userdata, Settings **ret)
{
        _cleanup_(config_done) Config c = {
                .folder = folder,
                .folder_fd = -1,
                .loader = loader,
                .report = report,
                .userdata = userdata,
        };
        int r = prepare(&c);
        if (r < 0)
                return r;
        parse_all(&c);
        if (!c.no_memory)
                config_finish(&c);
        if (c.no_memory)
                return -ENOMEM;
        if (c.errors > CONFIG_ERRORS_MAX) {
                char text[64];
                snprintf(text, sizeof text, "%u more errors", c.errors - CONFIG_ERRORS_MAX);
                report_text(&c, text);
        }
        if (c.errors > 0)
                return -EINVAL;
        *ret = TAKE_PTR(c.settings);
        return 0;
}
