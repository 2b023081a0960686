// SPDX-License-Identifier: GPL-2.0-only
/* The log's lines, read back from where stderr points. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "log.h"

static char captured[65536];
static int saved_stderr;

/* Points stderr at a file that nobody else sees. */
static void capture_begin(void)
{
	char path[] = "/tmp/sluice-log-test-XXXXXX";
	int fd = mkstemp(path);

	CHECK(fd >= 0 && !unlink(path));
	saved_stderr = dup(STDERR_FILENO);
	dup2(fd, STDERR_FILENO);
	close(fd);
}

static const char *capture_end(void)
{
	ssize_t len = pread(STDERR_FILENO, captured, sizeof(captured) - 1, 0);

	captured[len < 0 ? 0 : len] = '\0';
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	return captured;
}

/* "2024-05-01T12:00:00.123Z" */
static bool is_time(const char *text)
{
	static const char shape[] = "dddd-dd-ddTdd:dd:dd.dddZ";

	for (size_t i = 0; i < sizeof(shape) - 1; i++) {
		bool digit = text[i] >= '0' && text[i] <= '9';

		if (shape[i] == 'd' ? !digit : text[i] != shape[i])
			return false;
	}
	return true;
}

TEST(text_before_init)
{
	capture_begin();
	log_info("hello %d", 1);
	log_debug("hidden");
	capture_end();
	CHECK(is_time(captured));
	CHECK_STR(captured + 24, " info hello 1\n");
}

TEST(levels)
{
	enum log_level level = LOG_LEVEL_DEBUG;

	CHECK_INT(log_level_parse("warn", &level), 0);
	CHECK_INT(level, LOG_LEVEL_WARN);
	CHECK_INT(log_level_parse("warning", &level), -EINVAL);
	CHECK_INT(log_level_parse("", &level), -EINVAL);
	CHECK_INT(level, LOG_LEVEL_WARN);

	capture_begin();
	log_init(LOG_LEVEL_ERROR, false);
	log_warn("hidden");
	log_error("seen");
	log_init(LOG_LEVEL_DEBUG, false);
	log_debug("seen too");
	capture_end();
	CHECK(!strstr(captured, "hidden"));
	CHECK(strstr(captured, " error seen\n"));
	CHECK(strstr(captured, " debug seen too\n"));
}

TEST(text_is_one_line)
{
	capture_begin();
	log_init(LOG_LEVEL_INFO, false);
	log_info("a\nb\033[31m\177");
	capture_end();
	CHECK_STR(captured + 24, " info a b [31m \n");
}

TEST(json)
{
	json_t *line;

	capture_begin();
	log_init(LOG_LEVEL_INFO, true);
	log_warn("quote \" backslash \\ newline\n tab\t ü \001 end");
	capture_end();
	CHECK(strchr(captured, '\n') == captured + strlen(captured) - 1);
	line = json_loads(captured, 0, NULL);
	CHECK(is_time(json_string_value(json_object_get(line, "time"))));
	CHECK_STR(json_string_value(json_object_get(line, "level")), "warn");
	CHECK_STR(json_string_value(json_object_get(line, "message")),
		  "quote \" backslash \\ newline\n tab\t ü \001 end");
	CHECK_INT(json_object_size(line), 3);
	json_decref(line);
}

TEST(json_names_the_event)
{
	json_t *line;

	capture_begin();
	log_init(LOG_LEVEL_INFO, true);
	log_at(LOG_LEVEL_INFO, "attach", "attach: %s as pod", "veth0");
	capture_end();
	line = json_loads(captured, 0, NULL);
	CHECK_STR(json_string_value(json_object_get(line, "event")), "attach");
	CHECK_STR(json_string_value(json_object_get(line, "message")), "attach: veth0 as pod");
	json_decref(line);
}

TEST(json_of_bytes_that_are_not_utf8)
{
	json_t *line;

	capture_begin();
	log_init(LOG_LEVEL_INFO, true);
	log_info("name \xff\xfe end");
	capture_end();
	line = json_loads(captured, 0, NULL);
	CHECK_STR(json_string_value(json_object_get(line, "message")), "name ?? end");
	json_decref(line);
}

TEST(long_message_is_whole)
{
	static char message[20000];

	memset(message, 'x', sizeof(message) - 1);
	capture_begin();
	log_init(LOG_LEVEL_INFO, false);
	log_info("%s", message);
	capture_end();
	CHECK_INT(strlen(captured), 24 + strlen(" info \n") + strlen(message));
}

TEST(journal_has_priorities_and_no_time)
{
	struct stat st;
	char stream[64];

	capture_begin();
	fstat(STDERR_FILENO, &st);
	snprintf(stream, sizeof(stream), "%lu:%lu", (unsigned long)st.st_dev,
		 (unsigned long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_init(LOG_LEVEL_INFO, false);
	log_error("broken");
	capture_end();
	unsetenv("JOURNAL_STREAM");
	CHECK_STR(captured, "<3>error broken\n");
}

TEST(errno_survives)
{
	capture_begin();
	log_init(LOG_LEVEL_INFO, false);
	errno = ENOENT;
	log_info("anything");
	CHECK_INT(errno, ENOENT);
	capture_end();
}
