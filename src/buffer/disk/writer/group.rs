//! Groups on their way to segments: written, synced, made to count; written again where a sync failed.

use super::*;

impl Writer {
    /// When the group is due.
    pub(in crate::buffer::disk) fn due(&self) -> Option<Duration> {
        let Phase::Gathering { since } = self.phase else { return None };
        Some(GROUP_WAIT.saturating_sub(since.elapsed()))
    }

    /// Whether the sink has something before it that it was not given.
    pub(in crate::buffer::disk) fn sink_is_behind(&self) -> bool {
        self.shared.lock().sink_is_behind()
    }

    /// Whether there is no use in waiting for the sink: what it needs next can only be read from disk, or it has enough
    /// before it already and settles nothing.
    pub(in crate::buffer::disk) fn sink_stands(&mut self) -> bool {
        let state = self.shared.lock();
        let settles = self.with.pace.as_mut().is_some_and(|pace| pace.has_settled_within(GROUP_WAIT, &state));
        state.needs_group() || state.sink_is_behind() && !settles
    }

    /// Writes the group, as far as the sink has not settled it already. Waits for a disk that is full or failing; gives
    /// up only when the time to drain is over, which leaves the group to its sources.
    pub(in crate::buffer::disk) fn commit(&mut self) {
        while matches!(self.phase, Phase::Gathering { .. }) {
            if !self.files.orphans.is_empty() {
                self.look_after_folder();
            }
            match self.try_commit() {
                Ok(()) => break,
                Err(error) => {
                    self.say_failing("cannot write the disk buffer; waiting", &error);
                    if self.with.abort.is_cancelled() {
                        self.give_up();
                        break;
                    }
                    let since = Instant::now();
                    self.wait_for_verdicts(TRY_AGAIN);
                    // What the sink has settled meanwhile may be all the room that is needed; a disk that fails in other
                    // ways is left alone for as long.
                    while !is_full(&error) && since.elapsed() < TRY_AGAIN && !self.with.abort.is_cancelled() {
                        self.wait_for_verdicts(TRY_AGAIN.saturating_sub(since.elapsed()));
                    }
                    self.look_after_folder();
                    let _later = self.reclaim();
                }
            }
        }
        if self.phase != Phase::GaveUp {
            self.phase = Phase::Idle;
        }
        self.group.reserved = 0;
        self.group.buf.clear();
        self.group.buf.shrink_to(self.settings.sizes.group * 2);
    }

    /// Leaves the group unwritten, for good: the sources' handles are dropped, so they keep their place.
    pub(super) fn give_up(&mut self) {
        self.phase = Phase::GaveUp;
        let handles: Vec<_> = self.shared.lock().group.iter_mut().map(|p| p.upstream.take()).collect();
        drop(handles);
    }

    pub(in crate::buffer::disk) fn try_commit(&mut self) -> io::Result<()> {
        let result = self.write_group();
        if let Err(error) = &result {
            // What was written but not made to count is written again.
            if let Some(active) = &mut self.files.active {
                active.at = active.end;
            }
            if !is_full(error) {
                self.seal_torn();
            }
            let mut state = self.shared.lock();
            let state = &mut *state;
            for part in state.group.iter_mut().filter(|p| p.writing) {
                part.writing = false;
                if part.settled {
                    state.settled.add(part.seq, part.seq + 1, 0);
                }
            }
        } else {
            self.say_working();
        }
        result
    }

    pub(super) fn write_group(&mut self) -> io::Result<()> {
        self.rewrite()?;
        let mut todo = std::mem::take(&mut self.group.todo);
        todo.clear();
        let (mut event, promised) = {
            let mut state = self.shared.lock();
            for part in state.group.iter_mut().filter(|p| !p.settled) {
                part.writing = true;
                let RecordPart { seq, events, received_at, at, len, .. } = *part;
                todo.push(Todo { seq, events, received_at, at, len });
            }
            (state.next_event, state.written_seq)
        };
        let result = self.write_all(&todo, &mut event, promised);
        let written = !todo.is_empty();
        self.group.todo = todo;
        result?;
        if written {
            self.still_named()?;
            let end = self.shared.lock().next_seq;
            self.promise(end, event)?;
        }
        self.finish(u64::MAX);
        Ok(())
    }

    pub(super) fn write_all(&mut self, todo: &[Todo], event: &mut u64, promised: u64) -> io::Result<()> {
        if !todo.is_empty() && self.positions.mark.is_none() {
            // Of this boot: from now on it is certain what was not acknowledged.
            self.promise(promised, *event)?;
        }
        // Bytes of `buf` (or `packed`) that are to be written next: one call for records back to back.
        let mut run = 0..0;
        self.group.packed.clear();
        for part in todo {
            let (body, zstd) = self.body(part)?;
            let size = (body.len()) as u64;
            if !self.files.active.as_ref().is_some_and(|a| a.at + (run.len() as u64) + size <= a.capacity) {
                self.write_run(&mut run, zstd)?;
                self.roll(part, *event, size)?;
            }
            let Some(active) = &self.files.active else { continue };
            let from = if zstd { &mut self.group.packed } else { &mut self.group.buf };
            let len = (body.len() - record::HEADER) as u32;
            let header = RecordHeader {
                epoch: active.epoch,
                seq: part.seq,
                first_event: *event,
                promised,
                received_at: part.received_at,
                events: part.events as u32,
                raw_len: part.len as u32,
                len,
                body_crc: crc32c::crc32c(&from[body.start + record::HEADER..body.end]),
                zstd,
                extended: true,
            };
            from[body.start..body.start + record::HEADER].copy_from_slice(&header.to_bytes());
            *event += part.events;
            if run.end != body.start {
                self.write_run(&mut run, zstd)?;
                run = body.clone();
            }
            run.end = body.end;
        }
        let zstd = self.group.zstd.is_some();
        self.write_run(&mut run, zstd)?;
        if self.settings.fsync == Fsync::Batch && !todo.is_empty() {
            self.sync()?;
        }
        Ok(())
    }

    /// The record's place in `buf`, or in `packed` where it is compressed; its header is still to be filled in.
    pub(super) fn body(&mut self, part: &Todo) -> io::Result<(Range<usize>, bool)> {
        let whole = part.at..part.at + record::HEADER + part.len;
        let Some(zstd) = &mut self.group.zstd else { return Ok((whole, false)) };
        let start = self.group.packed.len();
        let raw = &self.group.buf[whole.start + record::HEADER..whole.end];
        self.group.packed.resize(start + record::HEADER + zstd::zstd_safe::compress_bound(raw.len()), 0);
        let len = zstd.compress_to_buffer(raw, &mut self.group.packed[start + record::HEADER..])?;
        self.group.packed.truncate(start + record::HEADER + len);
        Ok((start..start + record::HEADER + len, true))
    }

    /// Writes the run behind what was written.
    pub(super) fn write_run(&mut self, run: &mut Range<usize>, zstd: bool) -> io::Result<()> {
        let run = std::mem::take(run);
        let Some(active) = self.files.active.as_mut().filter(|_| !run.is_empty()) else { return Ok(()) };
        // Written behind its end it would have a hole, and look whole.
        if active.file.len()? < active.at {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the segment was cut short"));
        }
        let bytes = if zstd { &self.group.packed[run] } else { &self.group.buf[run] };
        let end = active.at + bytes.len() as u64;
        {
            let mut state = self.shared.lock();
            let len = state.segments.back().map_or(0, |s| s.file_len);
            self.shared.allow(&state, cost(len.max(end)) - cost(len))?;
            if let Some(last) = state.segments.back_mut() {
                last.file_len = len.max(end);
            }
        }
        active.file.write_at(bytes, active.at)?;
        active.at = end;
        Ok(())
    }

    /// Goes on in a new segment, whose first record will be `part`.
    pub(super) fn roll(&mut self, part: &Todo, event: u64, size: u64) -> io::Result<()> {
        if self.files.active.is_some() {
            if self.settings.fsync != Fsync::Never {
                self.sync()?;
            }
            self.still_named()?;
            self.promise(part.seq, event)?;
            self.finish(part.seq);
            self.seal_now();
        }
        let epoch = self.files.next_epoch;
        let path = self.folder.join(segment::name(epoch));
        let need = segment::HEADER + size;
        let spare = self.shared.lock().spares.last().cloned();
        let spare_len = spare.as_ref().map_or(0, |(_, len)| *len);
        if let Some((name, _)) = spare {
            self.storage.rename(&self.folder.join(name), &path)?;
            self.shared.lock().spares.pop();
        } else {
            self.shared.allow(&self.shared.lock(), cost(need))?;
        }
        self.files.next_epoch += 1;
        self.home.names_changed = true;
        let opened = self.storage.open(&path, OpenFor::Write).and_then(|file| {
            let len = file.len()?;
            Ok((file, len))
        });
        let file_len = opened.as_ref().map_or(spare_len, |(_, len)| *len);
        let mut state = self.shared.lock();
        state.settled.cut(part.seq);
        state.segments.push_back(Segment {
            epoch,
            first_seq: part.seq,
            end_seq: part.seq,
            first_event: event,
            events: 0,
            file_len: file_len.max(segment::HEADER),
            data_end: segment::HEADER,
            newest: part.received_at,
            // One that could not be opened holds nothing, takes its room, and is removed with the next that is done.
            sealed: opened.is_err(),
        });
        drop(state);
        let (file, _) = opened?;
        let (end, capacity) = (segment::HEADER, self.settings.sizes.segment.max(need));
        self.files.active = Some(Active { file: file.clone(), epoch, end, at: end, synced: 0, capacity });
        // Of the last segment alone all records are read at a start.
        self.shared.renew_notes();
        let header = SegmentHeader { epoch, first_seq: part.seq, first_event: event, created: part.received_at };
        if let Err(error) = file.write_at(&header.to_bytes(), 0) {
            self.seal_now();
            return Err(error);
        }
        Ok(())
    }

    /// Makes everything written survive a power loss. After a failure the segment is not trusted any more: what is not
    /// known to be durable is written again, to another one.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let Some(active) = &mut self.files.active else { return Ok(()) };
        let result = active.file.sync().and_then(|()| {
            if self.home.names_changed {
                self.storage.sync_dir(&self.folder)?;
                self.home.names_changed = false;
            }
            Ok(())
        });
        match result {
            Ok(()) => {
                active.synced = active.at;
                self.files.synced_at = Instant::now();
                Ok(())
            }
            Err(error) => {
                self.distrust();
                Err(error)
            }
        }
    }

    /// Ends the active segment after a failed sync. With `fsync: batch` nothing in it was acknowledged that is not
    /// durable; else what was acknowledged since the last sync is to be written again.
    pub(super) fn distrust(&mut self) {
        let acknowledged = |a: &Active| a.synced < a.end && a.end > segment::HEADER;
        let doubtful = self.seal_torn().filter(|a| self.settings.fsync == Fsync::Interval && acknowledged(a));
        self.files.doubtful = self.files.doubtful.take().or(doubtful);
    }

    /// Writes again what was acknowledged from a segment whose sync failed, before anything new. What cannot be read
    /// back stays where it is.
    pub(super) fn rewrite(&mut self) -> io::Result<()> {
        let Some(old) = &self.files.doubtful else { return Ok(()) };
        let (file, from, end) = (old.file.clone(), old.synced.max(segment::HEADER), old.end);
        let epoch = old.epoch;
        let old_file = file.clone();
        let mut view = View::new(file, epoch);
        if view.header(from, end)?.is_none() {
            self.files.doubtful = None;
            return Ok(());
        }
        let need = cost(segment::HEADER + end - from) + self.group.reserved;
        if self.shared.lock().used() + need > self.shared.max_bytes {
            let component = &*self.shared.counters.id;
            tracing::error!(
                component,
                epoch,
                "no room to write again what a failed sync left in doubt; it stays there"
            );
            self.files.doubtful = None;
            return Ok(());
        }
        let copied = self.copy_records(&mut view, from, end, None)?;
        let Some(segment) = copied else {
            let component = &*self.shared.counters.id;
            tracing::error!(component, epoch, "what a failed sync left in doubt cannot be read back; it stays there");
            self.files.doubtful = None;
            return Ok(());
        };
        self.files.doubtful = None;
        let mut state = self.shared.lock();
        if let Some(old) = state.segments.iter_mut().find(|s| s.epoch == epoch) {
            (old.data_end, old.end_seq) = (from, segment.first_seq);
            old.events = old.events.saturating_sub(segment.events);
        }
        state.segments.push_back(segment);
        drop(state);
        self.storage.sync_dir(&self.folder)?;
        // Only gives room back.
        if old_file.set_len(from).and_then(|()| old_file.sync()).is_ok()
            && let Some(old) = self.shared.lock().segments.iter_mut().find(|s| s.epoch == epoch)
        {
            old.file_len = from;
        }
        Ok(())
    }

    /// Writes the records `from..end` of a segment to a new one, which counts from its rename on: whole or not at all.
    /// Without `unsettled` all of them, or `None` where one cannot be read; else what is whole from the first on that is not
    /// settled there, or `None` where there is none.
    pub(super) fn copy_records(
        &mut self,
        view: &mut View,
        from: u64,
        end: u64,
        unsettled: Option<&Settled>,
    ) -> io::Result<Option<Segment>> {
        let new = self.files.next_epoch;
        let path = self.folder.join(REWRITE);
        let mut copy: Option<(Arc<dyn StoredFile>, Segment)> = None;
        let (mut at, mut seq) = (from, 0);
        while at < end {
            let header = view.header(at, end)?.filter(|h| h.seq >= seq);
            let body = header.map(|header| view.body(at, &header)).transpose()?;
            let whole = header.zip(body).filter(|(header, body)| crc32c::crc32c(body) == header.body_crc);
            let Some((header, body)) = whole else {
                if unsettled.is_none() {
                    return match copy {
                        Some(_) => self.storage.remove(&path).map(|()| None),
                        None => Ok(None),
                    };
                }
                let Some((next, _)) = view.find(at + 1, end, seq)? else { break };
                at = next;
                continue;
            };
            (at, seq) = (at + header.size(), header.seq + 1);
            if copy.is_none() && unsettled.is_some_and(|settled| settled.covers(header.seq, seq)) {
                continue;
            }
            let (file, segment) = match &mut copy {
                Some(copy) => copy,
                None => {
                    let file = self.storage.open(&path, OpenFor::Write)?;
                    file.set_len(0)?;
                    let (first_seq, first_event, created) = (header.seq, header.first_event, header.received_at);
                    file.write_at(&SegmentHeader { epoch: new, first_seq, first_event, created }.to_bytes(), 0)?;
                    let segment = Segment {
                        epoch: new,
                        first_seq,
                        end_seq: first_seq,
                        first_event,
                        events: 0,
                        file_len: segment::HEADER,
                        data_end: segment::HEADER,
                        newest: created,
                        sealed: true,
                    };
                    copy.insert((file, segment))
                }
            };
            file.write_at(&RecordHeader { epoch: new, ..header }.to_bytes(), segment.data_end)?;
            file.write_at(&body, segment.data_end + record::HEADER as u64)?;
            segment.data_end += header.size();
            segment.file_len = segment.data_end;
            segment.end_seq = seq;
            segment.events = (header.first_event + u64::from(header.events)).saturating_sub(segment.first_event);
            segment.newest = segment.newest.max(header.received_at);
        }
        let Some((file, segment)) = copy else { return Ok(None) };
        file.sync()?;
        self.storage.rename(&path, &self.folder.join(segment::name(new)))?;
        self.files.next_epoch += 1;
        Ok(Some(segment))
    }

    /// Makes the group's records below `seq` count: they are on disk, or the sink has them.
    pub(super) fn finish(&mut self, seq: u64) {
        let mut acks = Vec::new();
        let mut settled = Vec::new();
        let promised;
        {
            let mut state = self.shared.lock();
            let state = &mut *state;
            let n = state.group.partition_point(|p| p.seq < seq);
            for mut part in state.group.drain(..n) {
                if !part.writing {
                    continue;
                }
                state.next_event += part.events;
                if let Some(last) = state.segments.back_mut() {
                    last.end_seq = part.seq + 1;
                    last.events += part.events;
                    last.newest = last.newest.max(part.received_at);
                }
                if part.settled {
                    state.position_stale |= state.settled.add(part.seq, part.seq + 1, part.events);
                    settled.push((part.seq, part.events));
                }
                if let Some(place) = part.place.take() {
                    state.claims.note(&place);
                }
                acks.extend(part.upstream.take());
            }
            if let (Some(active), Some(last)) = (&mut self.files.active, state.segments.back_mut()) {
                active.end = active.at;
                last.data_end = active.at;
            }
            state.written_seq = state.group.first().map_or(state.next_seq, |p| p.seq);
            state.claim();
            promised = (state.written_seq, state.next_event);
            self.shared.publish(state);
            self.shared.some.notify_all();
        }
        for (seq, events) in settled {
            self.shared.note(|notes| notes.settled(seq, events, promised));
        }
        for ack in acks {
            ack.settle(Verdict::Delivered);
        }
    }
}

/// Whether there was no room, which may come by itself; the segment is as good as before.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
