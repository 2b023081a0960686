// SPDX-License-Identifier: GPL-2.0-only
/*
 * Parses durations in the format of Go's time.ParseDuration, which Kubernetes
 * and Istio use, without its negative ones. Called for annotations and rules.
 */
#include "duration.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

static const struct {
	const char *name;
	uint64_t ns;
} units[] = {
	{"ns", 1},
	{"us", 1000},
	{"ms", 1000000}, /* before "m" and "s", which begin them */
	{"s", 1000000000ull},
	{"m", 60000000000ull},
	{"h", 3600000000000ull},
};

static int take_unit(const char **text, uint64_t *ret_ns)
{
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		size_t len = strlen(units[i].name);

		if (strncmp(*text, units[i].name, len))
			continue;
		*text += len;
		*ret_ns = units[i].ns;
		return 0;
	}
	return -EINVAL;
}

/* One "1.5s": digits, perhaps a fraction, a unit. */
static int take_part(const char **text, uint64_t *total_ns)
{
	uint64_t whole = 0, part = 0, scale = 1, unit;
	const char *start = *text;

	for (; isdigit((unsigned char)**text); (*text)++) {
		if (whole > INT64_MAX / 10 - 1)
			return -ERANGE;
		whole = whole * 10 + (uint64_t)(**text - '0');
	}
	if (*text == start)
		return -EINVAL;
	if (**text == '.')
		for ((*text)++; isdigit((unsigned char)**text); (*text)++)
			if (scale < 1000000) { /* finer than a nanosecond of a second is noise */
				part = part * 10 + (uint64_t)(**text - '0');
				scale *= 10;
			}
	if (take_unit(text, &unit))
		return -EINVAL;
	if (whole > (INT64_MAX - *total_ns) / unit)
		return -ERANGE;
	*total_ns += whole * unit + part * unit / scale;
	return *total_ns > INT64_MAX ? -ERANGE : 0;
}

int duration_parse(const char *text, uint64_t *ret_ns)
{
	uint64_t total = 0;
	int err;

	if (!strcmp(text, "0")) {
		*ret_ns = 0;
		return 0;
	}
	do {
		err = take_part(&text, &total);
		if (err)
			return err;
	} while (*text);
	*ret_ns = total;
	return 0;
}
