"""The API of change requests, below `/api/v1/projects/{project}/change-requests`.

GET    /change-requests?app=&ref=&state=&limit=&cursor=     list_change_requests       Page[ChangeListed]
POST   /change-requests                                      open_change_request        ChangeView (201; 200: same key)
GET    /change-requests/{number}                             get_change_request         ChangeView
PATCH  /change-requests/{number}                             edit_change_request        ChangeView
GET    /change-requests/{number}/diff?rows=&files=           diff_change_request        ReleaseDiffView
GET    /change-requests/{number}/checks                      check_change_request       ChangeChecksView
GET    /change-requests/{number}/events?limit=&cursor=       list_change_events         Page[ChangeEventView]
POST   /change-requests/{number}/push                        push_change_request        ChangeView
POST   /change-requests/{number}/propose                     propose_change_request     ChangeView
POST   /change-requests/{number}/withdraw                    withdraw_change_request    ChangeView (back to draft)
POST   /change-requests/{number}/reviews                     review_change_request      ChangeView
GET    /change-requests/{number}/rebase                      plan_change_rebase         RebasePlanView
POST   /change-requests/{number}/rebase                      rebase_change_request      ChangeView (409 with conflicts)
POST   /change-requests/{number}/merge                       merge_change_request       ChangeView
POST   /change-requests/{number}/close                       close_change_request       ChangeView
GET    /change-requests/{number}/comments                    list_change_comments       ChangeThreadsView
POST   /change-requests/{number}/comments                    comment_on_change          ChangeThreadView
PUT    /change-requests/{number}/comments/{id}               edit_change_comment        ChangeThreadView
PUT    /change-requests/{number}/threads/{id}                resolve_change_thread      ChangeThreadView
"""
