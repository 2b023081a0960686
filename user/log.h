/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The log of the agent: one line per event on stderr, as text or as JSON.
 * A module returns its error; only agent, main and commands log it.
 */
#ifndef SLUICE_LOG_H
#define SLUICE_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Sets what is printed from now on; before the first call: info, text. */
void log_init(enum log_level level, bool json);

/* "error", "warn", "info" or "debug" -> level. 0, or -EINVAL. */
int log_level_parse(const char *text, enum log_level *ret);

/* `event`: what kind of event the line is of, which JSON has as a field of its own; NULL: of none. */
void log_at(enum log_level level, const char *event, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define log_error(...) log_at(LOG_LEVEL_ERROR, NULL, __VA_ARGS__)
#define log_warn(...) log_at(LOG_LEVEL_WARN, NULL, __VA_ARGS__)
#define log_info(...) log_at(LOG_LEVEL_INFO, NULL, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, NULL, __VA_ARGS__)

#endif
