package timeline

import "slices"

// toldByApp are the kinds of events that the sample app tells of itself, or that are about its telling.
var toldByApp = []Kind{
	AppStart, AppListening, AppReady, AppPreStopStart, AppPreStopEnd, AppSIGTERM, AppShutdown, AppListenerClosed,
	AppShutdownTimeout, AppLastRequest, AppExit, LogCut,
}

// AsForeign is a timeline of the sample app as it would be of an app that says nothing of itself: without its
// headers, its log and its ledgers. Which request of a connection each was, the client knows by itself. It is
// for holding what is worked out without an app's help against what the app says.
func (tl Timeline) AsForeign(target TargetSpec) Timeline {
	tl.Spec.Target = &target
	tl.Events = slices.DeleteFunc(slices.Clone(tl.Events), func(e Event) bool {
		return slices.Contains(toldByApp,
			e.Kind)
	})
	tl.Sources = slices.DeleteFunc(slices.Clone(tl.Sources), func(s Source) bool { return s.Kind == SourceApp })
	tl.Served, tl.Held, tl.TasksByPod = nil, nil, nil
	tl.Lanes = slices.Clone(tl.Lanes)
	for i := range tl.Lanes {
		l := &tl.Lanes[i]
		l.Pods, l.Requests = nil, slices.Clone(l.Requests)
		for n := range l.Requests {
			l.Requests[n].Pod, l.Requests[n].Conn, l.Requests[n].Leaving = 0, 0, NotLeaving
		}
	}
	return tl
}
