// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the log's line format. One event is one line and one write to stderr,
 * whatever bytes the message holds. Refuses to fail: a line that cannot be
 * formatted is printed as it came. Called by the agent, main and commands.
 *
 *   text      2024-05-01T12:00:00.123Z info message
 *   journal   <6>info message        (sd-daemon(3): the journal has the time)
 *   JSON      {"time": "...", "level": "info", "message": "..."}
 */
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

#define TIME_LEN sizeof("2024-05-01T12:00:00.123Z")

enum log_format { LOG_TEXT, LOG_COLOUR, LOG_JOURNAL, LOG_JSON, LOG_FORMAT_UNSET };

static const struct {
	const char *name;
	const char *colour;
	int priority; /* syslog(3) */
} levels[] = {
	[LOG_LEVEL_ERROR] = {"error", "\033[31m", 3},
	[LOG_LEVEL_WARN] = {"warn", "\033[33m", 4},
	[LOG_LEVEL_INFO] = {"info", "\033[32m", 6},
	[LOG_LEVEL_DEBUG] = {"debug", "\033[2m", 7},
};

static struct {
	enum log_level level;
	enum log_format format;
} log_state = {LOG_LEVEL_INFO, LOG_FORMAT_UNSET};

/* systemd.exec(5): $JOURNAL_STREAM is the "device:inode" of the journal's socket. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char own[64];
	struct stat st;

	if (!stream || fstat(STDERR_FILENO, &st))
		return false;
	snprintf(own, sizeof(own), "%lu:%lu", (unsigned long)st.st_dev, (unsigned long)st.st_ino);
	return !strcmp(own, stream);
}

static enum log_format text_format(void)
{
	if (stderr_is_journal())
		return LOG_JOURNAL;
	return isatty(STDERR_FILENO) && !getenv("NO_COLOR") ? LOG_COLOUR : LOG_TEXT;
}

void log_init(enum log_level level, bool json)
{
	log_state.level = level;
	log_state.format = json ? LOG_JSON : text_format();
}

int log_level_parse(const char *text, enum log_level *ret)
{
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (!strcmp(text, levels[i].name)) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

/* RFC 3339, UTC, with milliseconds. */
static void format_time(char buf[TIME_LEN])
{
	struct timespec now;
	struct tm tm;
	size_t len;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	len = strftime(buf, TIME_LEN, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buf + len, TIME_LEN - len, ".%03uZ", (unsigned)(now.tv_nsec / 1000000) % 1000);
}

/* Text goes to terminals and line readers: no message may forge a line or an escape. */
static void blank_controls(char *message)
{
	for (unsigned char *c = (unsigned char *)message; *c; c++)
		if (*c < 0x20 || *c == 0x7f)
			*c = ' ';
}

/* JSON is UTF-8. A message that is not keeps its ASCII part. */
static json_t *message_to_json(char *message)
{
	json_t *string = json_string(message);

	if (string)
		return string;
	for (unsigned char *c = (unsigned char *)message; *c; c++)
		if (*c >= 0x80)
			*c = '?';
	return json_string(message);
}

static char *line_to_json(enum log_level level, const char *event, const char *time, char *message)
{
	json_t *line = json_pack("{s:s, s:s, s:s*, s:o}", "time", time, "level", levels[level].name,
				 "event", event, "message", message_to_json(message));
	char *text = line ? json_dumps(line, 0) : NULL;

	json_decref(line);
	return text;
}

/* The whole line without its end, on the heap; NULL without memory. */
static char *format_line(enum log_level level, const char *event, char *message)
{
	const char *name = levels[level].name;
	char time[TIME_LEN], *line = NULL;
	int len = -1;

	format_time(time);
	if (log_state.format == LOG_JSON)
		return line_to_json(level, event, time, message);
	blank_controls(message);
	if (log_state.format == LOG_JOURNAL)
		len = asprintf(&line, "<%d>%s %s", levels[level].priority, name, message);
	else if (log_state.format == LOG_COLOUR)
		len = asprintf(&line, "\033[2m%s\033[0m %s%s\033[0m %s", time, levels[level].colour,
			       name, message);
	else
		len = asprintf(&line, "%s %s %s", time, name, message);
	return len < 0 ? NULL : line;
}

void log_at(enum log_level level, const char *event, const char *format, ...)
{
	int saved = errno; /* callers log, then return their errno */
	char *message = NULL, *line = NULL;
	va_list args;
	int len;

	if (level > log_state.level)
		return;
	if (log_state.format == LOG_FORMAT_UNSET)
		log_state.format = text_format();
	va_start(args, format);
	len = vasprintf(&message, format, args);
	va_end(args);
	if (len < 0)
		message = NULL;
	else
		line = format_line(level, event, message);
	dprintf(STDERR_FILENO, "%s\n", line ? line : message ? message : format);
	free(line);
	free(message);
	errno = saved;
}
