// SPDX-License-Identifier: GPL-2.0-only
/*
 * The list of verdicts on the input and the one-line form of a refusal. Owns
 * copies of all strings it is given. It judges nothing: objects and policy do,
 * and `sluice check`, the log and the metrics print what they said.
 */
#include "verdict.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const verdict_kind_names[VERDICT_KINDS] = {
	[VERDICT_HONOURED] = "honoured",
	[VERDICT_MAPPED] = "mapped",
	[VERDICT_UNSUPPORTED] = "unsupported",
	[VERDICT_UNKNOWN] = "unknown",
};

static int verdicts_reserve(struct verdicts *verdicts)
{
	size_t capacity = verdicts->capacity ? verdicts->capacity * 2 : 64;
	struct verdict *list;

	if (verdicts->n < verdicts->capacity)
		return 0;
	list = reallocarray(verdicts->list, capacity, sizeof(*list));
	if (!list)
		return -ENOMEM;
	verdicts->list = list;
	verdicts->capacity = capacity;
	return 0;
}

/* Input is quoted in what we say of it: nothing of it may break a line or command a terminal. */
static void tidy(char *text)
{
	for (; text && *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

static int keep(struct verdicts *verdicts, const char *text, const char **ret)
{
	char *copy = arena_strdup(&verdicts->texts, text);

	tidy(copy);
	*ret = copy;
	return copy ? 0 : -ENOMEM;
}

int verdicts_add(struct verdicts *verdicts, enum verdict_kind kind, const char *file, unsigned line,
		 const char *object, const char *field, const char *reason)
{
	struct verdict verdict = {.kind = kind, .line = line};

	if (verdicts_reserve(verdicts))
		return -ENOMEM;
	if (file) /* as it is named, so that it can be found */
		verdict.file = arena_strdup(&verdicts->texts, file);
	if ((file && !verdict.file) || keep(verdicts, object, &verdict.object) ||
	    keep(verdicts, field, &verdict.field) || keep(verdicts, reason, &verdict.reason))
		return -ENOMEM;
	verdicts->list[verdicts->n++] = verdict;
	return 0;
}

void verdicts_done(struct verdicts *verdicts)
{
	arena_done(&verdicts->texts);
	free(verdicts->list);
	*verdicts = (struct verdicts){0};
}

int diag_set(struct diag *diag, const char *file, unsigned line, const char *field,
	     const char *format, ...)
{
	va_list args;

	snprintf(diag->file, sizeof(diag->file), "%s", file ? file : "");
	snprintf(diag->field, sizeof(diag->field), "%s", field ? field : "");
	diag->line = line;
	va_start(args, format);
	vsnprintf(diag->reason, sizeof(diag->reason), format, args);
	va_end(args);
	tidy(diag->field);
	tidy(diag->reason);
	return -EINVAL;
}

const char *diag_format(const struct diag *diag, char *buf, size_t len)
{
	char line[16] = "";

	if (diag->line)
		snprintf(line, sizeof(line), "%s%u", diag->file[0] ? ":" : "line ", diag->line);
	snprintf(buf, len, "%s%s%s%s%s%s", diag->file, line,
		 diag->file[0] || diag->line ? ": " : "", diag->field, diag->field[0] ? ": " : "",
		 diag->reason);
	return buf;
}
